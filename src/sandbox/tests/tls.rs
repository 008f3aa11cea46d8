//! TLS with an authority of its own.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::{Certificate, Client, ClientBuilder};

use super::{OPERATOR, TestSandbox};
use crate::sandbox::{RunningSandbox, SandboxConfig, serve};

async fn start(names: &[&str]) -> RunningSandbox {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let tls = Some(names.iter().map(|name| (*name).to_owned()).collect());
    serve(SandboxConfig { address, tls, ..SandboxConfig::default() }).await.unwrap()
}

/// A client that takes every name for the address of the server.
fn client(running: &RunningSandbox, names: &[&str]) -> ClientBuilder {
    names.iter().fold(Client::builder().no_proxy(), |client, name| client.resolve(name, running.address()))
}

fn authority(running: &RunningSandbox) -> Certificate {
    Certificate::from_pem(running.connection_info().ca.as_ref().unwrap().as_bytes()).unwrap()
}

#[tokio::test]
async fn whoever_trusts_the_authority_is_served_by_every_name_of_the_certificate_and_no_other() {
    let running = start(&["sandbox.example", "192.0.2.1"]).await;
    assert_eq!(running.url(), format!("https://{}", running.address()));
    let names = ["localhost", "127.0.0.1", "sandbox.example", "other.example"];
    let client = client(&running, &names).tls_certs_only([authority(&running)]).build().unwrap();
    for name in names {
        let url = format!("https://{name}:{}/v1/apps", running.address().port());
        let answer = client.get(url).bearer_auth(OPERATOR).send().await;
        assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), name != "other.example", "{name}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn whoever_does_not_trust_the_authority_is_not_served() {
    let (running, other) = (start(&[]).await, start(&[]).await);
    let url = format!("{}/v1/health", running.url());
    assert!(client(&running, &[]).build().unwrap().get(&url).send().await.is_err());
    let trusting_another = client(&running, &[]).tls_certs_only([authority(&other)]).build().unwrap();
    assert!(trusting_another.get(&url).send().await.is_err(), "every start has an authority of its own");
    assert!(client(&running, &[]).build().unwrap().get(url.replace("https", "http")).send().await.is_err());
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_hold_up_the_end() {
    let running = start(&[]).await;
    let silent = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    running.shutdown().await;
    drop(silent);
}

#[tokio::test]
async fn a_name_that_cannot_be_in_a_certificate_is_refused() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let refused = serve(SandboxConfig { address, tls: Some(vec!["nämé".into()]), ..SandboxConfig::default() }).await;
    assert!(refused.err().unwrap().to_string().starts_with("cannot make a certificate"));
}

#[tokio::test]
async fn without_tls_there_is_no_authority() {
    assert!(TestSandbox::start().await.running.connection_info().ca.is_none());
}
