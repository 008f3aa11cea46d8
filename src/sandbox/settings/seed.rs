//! What a sandbox begins with, from a file (YAML). A section that is absent stays as it is by default.
//!
//! ```yaml
//! plans:
//!   small: { max_apps: 3, max_replicas: 1, image_tags: false, resources: { max_cpu: 4, max_memory_gi: 16 } }
//! organizations:
//!   - { id: 1, name: acme, plan: small }
//! users:
//!   - { id: 1, memberships: [{ organization: acme, role: owner }] }
//! credentials:
//!   - { kind: personal_access_token, name: ci, token: sandbox-fake-ci, scopes: ["*"], organization: acme, user: 1 }
//!   - { kind: oauth_client, name: bot, client_id: bot, client_secret: sandbox-fake-bot, scopes: ["*"], organization: acme }
//! apps:
//!   - { organization: acme, body: { name: my-app, region: us-west-2, image_tag: 2.0.0 }, secrets: { DB_URL: fake } }
//!   - { organization: acme, repository_connected: true, body: { name: our-app } }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::sandbox::model::profile::SubscriptionPlan;
use crate::sandbox::settings::config::{
    CredentialConfig, CredentialKind, OrganizationConfig, SandboxConfig, SeedApp, UserConfig,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedFile {
    #[serde(default)]
    plans: BTreeMap<String, SubscriptionPlan>,
    organizations: Option<Vec<SeedOrganization>>,
    users: Option<Vec<UserConfig>>,
    credentials: Option<Vec<CredentialConfig>>,
    apps: Option<Vec<SeedApp>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedOrganization {
    id: u64,
    name: String,
    plan: Option<String>,
}

impl SandboxConfig {
    /// Takes over kind the text of a seed file says. The error says kind is wrong with it.
    pub fn load_seed(&mut self, text: &str) -> Result<(), String> {
        let options = serde_saphyr::options! { with_snippet: false };
        let seed: SeedFile = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        if let Some(organizations) = seed.organizations {
            let organizations = organizations.into_iter().map(|one| build_organization(one, &seed.plans));
            self.organizations = organizations.collect::<Result<_, _>>()?;
        }
        self.users = seed.users.unwrap_or(std::mem::take(&mut self.users));
        self.credentials = seed.credentials.unwrap_or(std::mem::take(&mut self.credentials));
        self.apps = seed.apps.unwrap_or_default();
        self.check_references()
    }

    /// Whether everything that is named is there, once.
    fn check_references(&self) -> Result<(), String> {
        let Self { organizations, users, credentials, apps, .. } = self;
        check_unique("organization", organizations.iter().map(|one| one.name.to_ascii_lowercase()))?;
        check_unique("organization", organizations.iter().map(|one| one.id.to_string()))?;
        check_unique("user", users.iter().map(|one| one.id.to_string()))?;
        check_unique("credential", credentials.iter().map(|one| one.name.clone()))?;
        check_unique(
            "token or client id of",
            credentials.iter().map(|one| credential_identifier(&one.kind).to_owned()),
        )?;
        let named = users
            .iter()
            .flat_map(|user| user.memberships.iter().map(|member| &member.organization))
            .chain(credentials.iter().map(|one| &one.organization))
            .chain(apps.iter().map(|one| &one.organization));
        for name in named {
            if !organizations.iter().any(|one| one.is_called(name)) {
                return Err(format!("there is no organization {name:?}"));
            }
        }
        for credential in credentials {
            if credential.user.is_some_and(|id| !users.iter().any(|user| user.id == id)) {
                return Err(format!("there is no user of the credential {:?}", credential.name));
            }
        }
        Ok(())
    }
}

fn build_organization(
    seed: SeedOrganization,
    plans: &BTreeMap<String, SubscriptionPlan>,
) -> Result<OrganizationConfig, String> {
    let SeedOrganization { id, name, plan } = seed;
    let plan = match plan {
        None => SubscriptionPlan::default(),
        Some(plan) => *plans.get(&plan).ok_or_else(|| format!("there is no plan {plan:?}"))?,
    };
    Ok(OrganizationConfig { id, name, plan })
}

fn credential_identifier(kind: &CredentialKind) -> &str {
    match kind {
        CredentialKind::PersonalAccessToken { token } | CredentialKind::SessionToken { token } => token,
        CredentialKind::OauthClient { client_id, .. } => client_id,
    }
}

/// Names no value: it may be a token.
fn check_unique(kind: &str, values: impl Iterator<Item = String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (index, value) in values.enumerate() {
        if value.is_empty() || !seen.insert(value) {
            return Err(format!("the {kind} number {} is empty or not the first of its kind", index + 1));
        }
    }
    Ok(())
}
