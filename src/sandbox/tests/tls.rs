//! TLS with an own certificate authority.

use reqwest::{Certificate, Client, ClientBuilder};

use super::{OPERATOR, TestSandbox, start_error};
use crate::sandbox::{RunningSandbox, SandboxConfig};

fn config(names: &[&str]) -> SandboxConfig {
    let tls = Some(names.iter().map(|name| (*name).to_owned()).collect());
    SandboxConfig { tls, ..SandboxConfig::default() }
}

async fn start(names: &[&str]) -> RunningSandbox {
    TestSandbox::start_with(config(names)).await.server
}

/// A client that resolves all names to the address of the server.
fn client(server: &RunningSandbox, names: &[&str]) -> ClientBuilder {
    names.iter().fold(Client::builder().no_proxy(), |client, name| client.resolve(name, server.address()))
}

fn authority(server: &RunningSandbox) -> Certificate {
    Certificate::from_pem(server.connection_info().ca.as_ref().unwrap().as_bytes()).unwrap()
}

#[tokio::test]
async fn the_certificate_is_valid_for_its_names_only() {
    let server = start(&["sandbox.example", "192.0.2.1"]).await;
    assert_eq!(server.url(), format!("https://{}", server.address()));
    let names = ["localhost", "127.0.0.1", "sandbox.example", "other.example"];
    let client = client(&server, &names).tls_certs_only([authority(&server)]).build().unwrap();
    for name in names {
        let url = format!("https://{name}:{}/v1/apps", server.address().port());
        let response = client.get(url).bearer_auth(OPERATOR).send().await;
        assert_eq!(response.is_ok_and(|response| response.status() == 200), name != "other.example", "{name}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_cannot_connect() {
    let (server, other) = (start(&[]).await, start(&[]).await);
    let url = format!("{}/v1/health", server.url());
    assert!(client(&server, &[]).build().unwrap().get(&url).send().await.is_err());
    let trusting_another = client(&server, &[]).tls_certs_only([authority(&other)]).build().unwrap();
    assert!(trusting_another.get(&url).send().await.is_err(), "every start creates a new authority");
    assert!(client(&server, &[]).build().unwrap().get(url.replace("https", "http")).send().await.is_err());
}

#[tokio::test]
async fn a_silent_client_does_not_block_shutdown() {
    let server = start(&[]).await;
    let silent = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    server.shutdown().await;
    drop(silent);
}

#[tokio::test]
async fn an_invalid_certificate_name_is_rejected() {
    assert!(start_error(config(&["nämé"])).await.starts_with("cannot make a certificate"));
}

#[tokio::test]
async fn no_authority_exists_without_tls() {
    assert!(TestSandbox::start().await.server.connection_info().ca.is_none());
}
