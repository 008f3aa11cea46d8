use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use tokio::time::Instant;

use super::*;
use crate::management::credential::Credential;
use crate::management::metrics::ApiMetrics;
use crate::management::types::ErrorKind;

const MINUTE: Duration = Duration::from_secs(60);
/// 1994-11-06 08:49:37 UTC, as an HTTP date and in Unix seconds.
const DATE: (&str, u64) = ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777);

fn budgets() -> Budgets {
    Budgets::new(Duration::from_secs(600), ApiMetrics::default())
}

fn key(credential: &str) -> AccountKey {
    AccountKey::new("https://api.example", None, &Credential::Token(SecretString::from(credential)))
}

fn quota(requests_per_minute: u32) -> Quota {
    Quota::new(requests_per_minute, 0)
}

/// Connects to an account of the organization `organization`.
fn connect(budgets: &Budgets, credential: &str, requests_per_minute: u32) -> Budget {
    budgets.account(key(credential), "organization", quota(requests_per_minute))
}

fn rate_limit_headers(lines: &[(&str, &str)]) -> RateLimitHeaders {
    let line =
        |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    let headers: HeaderMap = lines.iter().map(line).collect();
    RateLimitHeaders::parse(&headers, Timestamp::from_second(1_000_000_000).unwrap())
}

/// Time that a permit takes.
async fn wait_for_permit(budget: &Budget) -> Duration {
    let start = Instant::now();
    budget.acquire(Priority::Check, AccessMode::Read).await.unwrap();
    start.elapsed()
}

/// The largest number of grants in any minute.
fn most_in_a_minute(grants: &[Instant]) -> usize {
    let window = |from: &Instant| grants.iter().filter(|at| *at >= from && **at < *from + MINUTE).count();
    grants.iter().map(window).max().unwrap_or(0)
}

#[test]
fn a_window_sees_no_more_than_the_share() {
    for (granted, reserve) in [(1000, 20), (10, 0), (10, 90), (1_000_000, 50), (u32::MAX, 0), (0, 100)] {
        let quota = Quota::new(granted, reserve);
        let share = u64::from(granted) * u64::from(100 - reserve) / 100;
        assert!(u64::from(quota.burst() + quota.refill_per_minute() + 1) <= share.max(3), "{quota:?}");
        assert!(quota.burst() >= 1 && quota.refill_per_minute() >= 1, "{quota:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Two connections of one account; one of them is replaced at random times.
    #[test]
    fn any_minute_stays_in_budget_for_any_sequence_of_requests(
        rate in 10_u32..200,
        steps in proptest::collection::vec((0_u8..8, 0_u64..40), 20..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let most = runtime.block_on(async {
            let budgets = budgets();
            let (mut first, mut second) = (connect(&budgets, "fake", rate), Some(connect(&budgets, "fake", rate)));
            let mut grants = Vec::new();
            for (kind, amount) in steps {
                match kind {
                    0 => tokio::time::sleep(Duration::from_secs(amount)).await,
                    1 => {
                        // The account is dropped and created again.
                        drop((first, second.take()));
                        drop(connect(&budgets, "other", 10));
                        first = connect(&budgets, "fake", rate);
                    }
                    2 => second = Some(connect(&budgets, "fake", rate)),
                    _ => for turn in 0..amount {
                        let budget = second.as_ref().filter(|_| turn % 2 == 0).unwrap_or(&first);
                        budget.acquire(Priority::Check, AccessMode::Read).await.unwrap();
                        grants.push(Instant::now());
                    },
                }
            }
            most_in_a_minute(&grants)
        });
        prop_assert!(most <= rate as usize, "{most} in a minute of {rate}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_starts_empty_and_so_does_one_made_again() {
    let budgets = budgets();
    for _ in 0..3 {
        let budget = connect(&budgets, "fake", 60);
        assert!(wait_for_permit(&budget).await >= Duration::from_secs(1));
        tokio::time::sleep(MINUTE).await;
        drop(budget);
        drop(connect(&budgets, "other", 60));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_are_limited_and_the_next_starts_when_one_ends() {
    let budget = connect(&budgets(), "fake", 1_000_000);
    let mut permits = Vec::new();
    for _ in 0..account::MAX_IN_FLIGHT {
        permits.push(budget.acquire(Priority::Check, AccessMode::Read).await.unwrap());
    }
    let next = budget.acquire(Priority::Edit, AccessMode::Write);
    tokio::pin!(next);
    assert!(tokio::time::timeout(MINUTE, &mut next).await.is_err(), "a request exceeds the limit");
    permits.pop();
    next.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_account_share_a_budget_and_others_do_not() {
    let budgets = budgets();
    let start = Instant::now();
    let shared = [(); 3].map(|()| connect(&budgets, "fake", 60));
    for budget in shared.iter().cycle().take(60) {
        budget.acquire(Priority::Check, AccessMode::Read).await.unwrap();
    }
    assert!(start.elapsed() >= MINUTE);
    let named = |endpoint, name| AccountKey::new(endpoint, name, &Credential::Token(SecretString::from("fake")));
    assert_eq!(
        named("a", Some("team")),
        AccountKey::new("a", Some("team"), &Credential::Token(SecretString::from("other")))
    );
    let keys = [named("a", None), named("b", None), named("a", Some("team")), named("a", Some("fake")), key("fake")];
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{index}");
    }
    assert_eq!(format!("{:?}", keys[0]), "AccountKey");
}

#[tokio::test(start_paused = true)]
async fn the_smaller_quota_applies_as_long_as_its_connection_lasts() {
    let budgets = budgets();
    let large = connect(&budgets, "fake", 6000);
    assert!(wait_for_permit(&large).await < Duration::from_secs(1));
    let small = connect(&budgets, "fake", 10);
    assert!(wait_for_permit(&large).await > Duration::from_secs(5));
    drop(small);
    assert!(wait_for_permit(&large).await < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_cancels_its_requests_and_removes_its_quota() {
    let budgets = budgets();
    let former = connect(&budgets, "one", 10);
    let waiting = tokio::spawn({
        let former = former.clone();
        async move { former.acquire(Priority::Check, AccessMode::Read).await.map(drop) }
    });
    tokio::task::yield_now().await;
    let next = connect(&budgets, "one", 600);
    former.close();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    assert!(
        wait_for_permit(&next).await < Duration::from_secs(1),
        "the smaller quota no longer applies, although the connection is not dropped"
    );
    drop(former);
}

#[tokio::test(start_paused = true)]
async fn accounts_of_one_organization_stay_in_its_budget_together() {
    let budgets = budgets();
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for account in 0..12 {
        let budget = connect(&budgets, &format!("fake-{account}"), 1000);
        tasks.spawn(async move {
            let mut grants = Vec::new();
            while start.elapsed() < MINUTE * 2 {
                budget.acquire(Priority::Check, AccessMode::Read).await.unwrap();
                grants.push(start.elapsed().as_millis());
            }
            grants
        });
    }
    let mut grants = tasks.join_all().await.concat();
    grants.sort_unstable();
    let window = |(index, from): (usize, &u128)| grants[index..].partition_point(|at| at - from < 60_000);
    let most = grants.iter().enumerate().map(window).max().unwrap();
    assert!((7_000..=8_000).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_every_connection_of_the_account_and_no_other() {
    let budgets = budgets();
    let [one, two] = [(); 2].map(|()| connect(&budgets, "fake", 6000));
    let other = connect(&budgets, "other", 6000);
    one.record_response(StatusCode::TOO_MANY_REQUESTS, &rate_limit_headers(&[("retry-after", "30")]));
    assert!(wait_for_permit(&other).await < Duration::from_secs(1));
    let waited = wait_for_permit(&two).await;
    assert!(waited > Duration::from_secs(29) && waited < Duration::from_secs(31), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_requests_come_one_by_one() {
    let budgets = budgets();
    let budget = connect(&budgets, "fake", 1000);
    // A long idle time fills the bucket.
    wait_for_permit(&budget).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(wait_for_permit(&budget).await, Duration::ZERO);
    budget.record_response(StatusCode::TOO_MANY_REQUESTS, &rate_limit_headers(&[("retry-after", "2")]));
    // No request waits for the end of the pause.
    tokio::time::sleep(Duration::from_secs(10)).await;
    for _ in 0..3 {
        let waited = wait_for_permit(&budget).await;
        assert!(waited > Duration::from_millis(50), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_pause_rejects_new_and_queued_requests_at_once() {
    let budgets = budgets();
    let budget = connect(&budgets, "fake", 10);
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move { budget.acquire(Priority::Edit, AccessMode::Write).await }
    });
    tokio::task::yield_now().await;
    budget.record_response(StatusCode::TOO_MANY_REQUESTS, &rate_limit_headers(&[("retry-after", "99999999999999")]));
    for result in [waiting.await.unwrap(), budget.acquire(Priority::Edit, AccessMode::Write).await] {
        let ErrorKind::RateLimited { retry_after: Some(wait) } = result.unwrap_err().kind else {
            panic!("not rate limited")
        };
        assert!(wait <= Duration::from_secs(600), "the header is too large: {wait:?}");
    }
    // The pause remains after all connections are dropped.
    drop(budget);
    let budget = connect(&budgets, "fake", 10);
    budget.acquire(Priority::Edit, AccessMode::Write).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(601)).await;
    budget.acquire(Priority::Edit, AccessMode::Write).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_window_used_up_to_the_reserve_is_waited_out_whatever_our_clock_says() {
    let budgets = budgets();
    let budget = budgets.account(key("fake"), "organization", Quota::new(1000, 20));
    let reset = (DATE.1 + 40).to_string();
    let headers = |remaining| {
        rate_limit_headers(&[
            ("date", DATE.0),
            ("x-ratelimit-limit", "1000"),
            ("x-ratelimit-remaining", remaining),
            ("x-ratelimit-reset", &reset),
        ])
    };
    budget.record_response(StatusCode::OK, &headers("201"));
    assert!(wait_for_permit(&budget).await < Duration::from_secs(1));
    budget.record_response(StatusCode::OK, &headers("200"));
    // A response that arrives late does not end the pause.
    budget.record_response(StatusCode::OK, &headers("900"));
    let waited = wait_for_permit(&budget).await;
    assert!(waited >= Duration::from_secs(40) && waited < Duration::from_secs(41), "{waited:?}");
}

#[test]
fn times_are_parsed_in_every_format_and_invalid_values_are_ignored() {
    let later = (DATE.1 + 90).to_string();
    for (header, value, expected) in [
        ("retry-after", "7", Some(7)),
        ("retry-after", " 7 ", Some(7)),
        ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("retry-after", "Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
        ("retry-after", "Sun Nov  6 08:50:37 1994", Some(60)),
        ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("retry-after", "-1", None),
        ("retry-after", "1.5", None),
        ("retry-after", "soon", None),
        ("retry-after", "", None),
        ("x-ratelimit-reset", &later, Some(90)),
        ("x-ratelimit-reset", "60", Some(0)),
        ("x-ratelimit-reset", "never", None),
    ] {
        let headers = rate_limit_headers(&[("date", DATE.0), (header, value)]);
        let pause = headers.required_pause(StatusCode::TOO_MANY_REQUESTS, quota(1000)).unwrap().1.as_secs_f64();
        match expected {
            Some(seconds) => {
                assert!((0.0..=0.5).contains(&(pause - f64::max(seconds.into(), 1.0))), "{value}: {pause}")
            }
            None => assert!((5.0..=10.0).contains(&pause), "{value}: {pause}"),
        }
    }
}

#[test]
fn a_response_pauses_the_account_only_if_its_headers_require_a_pause() {
    let quota = Quota::new(1000, 20);
    for (status, lines, pauses) in [
        (200, &[][..], false),
        (503, &[], false),
        (503, &[("retry-after", "1")], true),
        (200, &[("retry-after", "1")], false),
        (429, &[], true),
        (200, &[("x-ratelimit-remaining", "200")], true),
        (200, &[("x-ratelimit-remaining", "201")], false),
        (200, &[("x-ratelimit-remaining", "201"), ("x-ratelimit-limit", "2000")], true),
        (200, &[("x-ratelimit-remaining", "-1")], false),
        (404, &[("x-ratelimit-remaining", "0")], true),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(rate_limit_headers(lines).required_pause(status, quota).is_some(), pauses, "{status} {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_sent_before_earlier_reads_of_equal_priority() {
    let modes = [AccessMode::Read, AccessMode::Read, AccessMode::Read, AccessMode::Write];
    let order = order_of(modes.map(|mode| (Priority::Delete, mode)).to_vec()).await;
    let order: Vec<AccessMode> = order.into_iter().map(|(_, mode)| mode).collect();
    assert_eq!(order, [AccessMode::Write, AccessMode::Read, AccessMode::Read, AccessMode::Read]);
}

#[tokio::test(start_paused = true)]
async fn urgent_requests_are_sent_first_and_none_starves() {
    let requests = std::iter::repeat_n(Priority::Check, 2).chain(std::iter::repeat_n(Priority::Edit, 10));
    let order = order_of(requests.map(|priority| (priority, AccessMode::Read)).collect()).await;
    let order: Vec<Priority> = order.into_iter().map(|(priority, _)| priority).collect();
    assert_eq!(order[..7], [Priority::Edit; 7]);
    assert_eq!(order[7], Priority::Check, "the eighth permit is for the least urgent request");
    assert_eq!(order[8..11], [Priority::Edit; 3]);
    assert_eq!(order[11], Priority::Check);
}

/// The order in which requests get their permits.
async fn order_of(requests: Vec<(Priority, AccessMode)>) -> Vec<(Priority, AccessMode)> {
    let budget = connect(&budgets(), "fake", 60);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for (priority, mode) in requests {
        let (budget, order) = (budget.clone(), Arc::clone(&order));
        tasks.spawn(async move {
            budget.acquire(priority, mode).await.unwrap();
            order.lock().unwrap().push((priority, mode));
        });
    }
    tasks.join_all().await;
    let order = order.lock().unwrap();
    order.clone()
}
