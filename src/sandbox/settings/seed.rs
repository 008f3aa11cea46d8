//! Seed file (YAML): initial content of a sandbox. An absent section keeps its default.
//!
//! ```yaml
//! plans:
//!   small: { max_apps: 3, max_replicas: 1, image_tags: false, resources: { max_cpu: 4, max_memory_gi: 16 } }
//! organizations:
//!   - { id: 1, name: acme, plan: small }
//! users:
//!   - { id: 1, memberships: [{ organization: acme, role: owner }] }
//! credentials:
//!   - { kind: personal_access_token, name: ci, token: fake-ci, scopes: ["*"], organization: acme, user: 1 }
//!   - { kind: oauth_client, name: bot, client_id: bot, client_secret: fake-bot, scopes: ["*"], organization: acme }
//! apps:
//!   - { organization: acme, body: { name: my-app, region: us-west-2 }, secrets: { DB_URL: fake } }
//!   - { organization: acme, body: { name: our-app }, repository_connected: true }
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
    /// Loads the text of a seed file. The error describes the first problem in the file.
    pub fn load_seed(&mut self, text: &str) -> Result<(), String> {
        let options = serde_saphyr::options! { with_snippet: false };
        let seed: SeedFile = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        if let Some(organizations) = seed.organizations {
            let build = |organization| build_organization(organization, &seed.plans);
            self.organizations = organizations.into_iter().map(build).collect::<Result<_, _>>()?;
        }
        if let Some(users) = seed.users {
            self.users = users;
        }
        if let Some(credentials) = seed.credentials {
            self.credentials = credentials;
        }
        self.apps = seed.apps.unwrap_or_default();
        self.check_references()
    }

    /// Checks that names are unique and that all referenced objects exist.
    fn check_references(&self) -> Result<(), String> {
        let Self { organizations, users, credentials, apps, .. } = self;
        check_unique("organization", organizations.iter().map(|organization| organization.name.to_ascii_lowercase()))?;
        check_unique("organization", organizations.iter().map(|organization| organization.id.to_string()))?;
        check_unique("user", users.iter().map(|user| user.id.to_string()))?;
        check_unique("credential", credentials.iter().map(|credential| credential.name.clone()))?;
        check_unique(
            "token or client id of",
            credentials.iter().map(|credential| credential_identifier(&credential.kind).to_owned()),
        )?;
        let referenced = users
            .iter()
            .flat_map(|user| user.memberships.iter().map(|member| &member.organization))
            .chain(credentials.iter().map(|credential| &credential.organization))
            .chain(apps.iter().map(|app| &app.organization));
        for name in referenced {
            self.find_organization(name).ok_or_else(|| format!("unknown organization {name:?}"))?;
        }
        for credential in credentials {
            if credential.user.is_some_and(|id| !users.iter().any(|user| user.id == id)) {
                return Err(format!("unknown user of the credential {:?}", credential.name));
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
        Some(plan) => *plans.get(&plan).ok_or_else(|| format!("unknown plan {plan:?}"))?,
    };
    Ok(OrganizationConfig { id, name, plan })
}

fn credential_identifier(kind: &CredentialKind) -> &str {
    match kind {
        CredentialKind::PersonalAccessToken { token } | CredentialKind::SessionToken { token } => token,
        CredentialKind::OauthClient { client_id, .. } => client_id,
    }
}

/// Rejects an empty or repeated value. The error contains no value, because the value may be a token.
fn check_unique(kind: &str, values: impl Iterator<Item = String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (index, value) in values.enumerate() {
        if value.is_empty() || !seen.insert(value) {
            return Err(format!("the {kind} number {} is empty or a duplicate", index + 1));
        }
    }
    Ok(())
}
