//! CA certificates in PEM.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const BEGIN: &str = "-----BEGIN ";
/// End of the label of each private key.
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Decodes the certificates of `spec.caBundle`.
///
/// # Errors
/// The cause, and the position of the block that is no valid certificate. The text contains nothing of the bundle.
pub fn parse_ca_bundle(bundle: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if let Some(position) = private_key_position(bundle) {
        return Err(format!(
            "spec.caBundle contains a private key in PEM block {position}. Remove the block and replace the key, because \
             everyone with read access to this object can read the key"
        ));
    }
    let starts: Vec<usize> = bundle.match_indices(BEGIN).map(|(start, _)| start).collect();
    if starts.is_empty() {
        return Err("spec.caBundle contains no PEM certificate".to_owned());
    }
    let ends = starts.iter().skip(1).copied().chain([bundle.len()]);
    let blocks = starts.iter().zip(ends).enumerate();
    blocks.map(|(index, (start, end))| certificate(index + 1, &bundle[*start..end])).collect()
}

/// Number of the PEM block with a private key. The first or the last line of the block is sufficient, even if letter
/// case, spaces or dashes are wrong: no library decodes the block then, but the key is readable.
fn private_key_position(bundle: &str) -> Option<usize> {
    let mut block = 0;
    for line in bundle.split(['\n', '\r']) {
        let mut parts = line.split(is_dash).map(normalized).peekable();
        while let Some(part) = parts.next() {
            block += usize::from(part.split(' ').next() == Some("BEGIN"));
            // Between two dashes is an empty part.
            let has_dashes_after = parts.peek().is_some_and(String::is_empty);
            if is_private_key_label(&part) || (has_dashes_after && part.ends_with(PRIVATE_KEY)) {
                return Some(block.max(1));
            }
        }
    }
    None
}

/// Returns true for the text between the dashes of a first or last line. A comment has other characters or words.
fn is_private_key_label(text: &str) -> bool {
    let Some((start, _)) = text.split_once(PRIVATE_KEY) else { return false };
    (start.starts_with("BEGIN ") || start.starts_with("END "))
        && start.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == ' ')
}

/// Word processors replace hyphens by other dashes.
fn is_dash(letter: char) -> bool {
    matches!(letter, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The text in upper case with single spaces between its words.
fn normalized(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_uppercase()
}

fn certificate(position: usize, block: &str) -> Result<CertificateDer<'static>, String> {
    if !block.starts_with("-----BEGIN CERTIFICATE-----") {
        return Err(format!(
            "spec.caBundle: PEM block {position} is not a certificate. Only CERTIFICATE blocks are allowed"
        ));
    }
    let certificate = CertificateDer::from_pem_slice(block.as_bytes()).ok();
    // The store decodes the parts that TLS uses.
    certificate
        .filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok())
        .ok_or_else(|| format!("spec.caBundle: certificate {position} is invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The certificate of a fake authority.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBijCCAS+gAwIBAgIUNLJzipHuDlRp2zf/J3NvRmkTIoswCgYIKoZIzj0EAwIw\n\
GTEXMBUGA1UEAwwOZmFrZSBhdXRob3JpdHkwIBcNMjYxMTI4MjM1MDA1WhgPMjEy\n\
NjExMDQyMzUwMDVaMBkxFzAVBgNVBAMMDmZha2UgYXV0aG9yaXR5MFkwEwYHKoZI\n\
zj0CAQYIKoZIzj0DAQcDQgAEag4mkaKN9QaQXjUg71LHBUMoE66gRHnVUa8RZVOE\n\
OhbGYjj200E/+v9T7Weo0OEXvaEqhQqfifh6F87ddwhxOaNTMFEwHQYDVR0OBBYE\n\
FB1HohqTuvNUSlDUI5TQ4PL8iYnDMB8GA1UdIwQYMBaAFB1HohqTuvNUSlDUI5TQ\n\
4PL8iYnDMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAMBkt24e\n\
jjuSxoamNYHpz+03UTiTnqqbnQkuDmmgN8NrAiEA8mFT2YCeLzUSzXxolNyxQnsi\n\
YF1aE2QgT6JOIVKduHo=\n\
-----END CERTIFICATE-----\n\
";
    const KEY: &str = "MFakeFakeFakeFakeFakeFakeFakeFake";

    fn block(label: &str) -> String {
        format!("-----BEGIN {label}-----\n{KEY}\n-----END {label}-----\n")
    }

    #[test]
    fn a_bundle_consists_of_certificates_and_comments() {
        for (bundle, expected) in [
            (CERTIFICATE.to_owned(), 1),
            (CERTIFICATE.replace('\n', "\r\n"), 1),
            (format!("# first\n{CERTIFICATE}\n# the private key is elsewhere\n{CERTIFICATE}"), 2),
            (format!("--- Begin of the bundle\nThe private key is elsewhere\n{CERTIFICATE}"), 1),
            (format!("{CERTIFICATE}-- End of the list; private key: in the vault --\n{CERTIFICATE}"), 2),
            (format!("Endpoint private key - see the vault\n{CERTIFICATE}"), 1),
            (format!("# private-key.pem\nBegin\tPublic Key Infrastructure\n{CERTIFICATE}"), 1),
            (format!("Subject: CN = Private Key Authority\r\n=====\r\n{CERTIFICATE}"), 1),
        ] {
            assert_eq!(parse_ca_bundle(&bundle).map(|certificates| certificates.len()), Ok(expected), "{bundle}");
        }
    }

    #[test]
    fn a_private_key_is_rejected_and_never_shown() {
        for label in
            ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"]
        {
            for (bundle, position) in [
                (block(label), 1),
                (format!("{CERTIFICATE}{}", block(label)), 2),
                (format!("{}{CERTIFICATE}", block(label)), 1),
                // A block that no library decodes is readable as well.
                (format!("{CERTIFICATE}  {}", block(label).replace('\n', " ")), 2),
                (format!("{CERTIFICATE}-----BEGIN {label}-----{KEY}"), 2),
                (format!("{KEY}\n-----END {label}-----"), 1),
                (format!("{}{}", block("CERTIFICATE"), block(label)), 2),
            ] {
                let problem = parse_ca_bundle(&bundle).unwrap_err();
                assert!(problem.contains(&format!("a private key in PEM block {position}. ")), "{problem}");
                assert!(problem.contains("replace the key") && !problem.contains(&KEY[..6]), "{problem}");
            }
        }
    }

    #[test]
    fn a_private_key_without_a_well_formed_block_is_rejected() {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"] {
            let begin = format!("-----BEGIN {label}-----");
            for line in [
                begin.to_lowercase(),
                begin.replace("BEGIN", "Begin"),
                begin.replace("-----", "----- "),
                begin.replace("-----B", "----- B"),
                begin.replace("BEGIN ", "BEGIN\t"),
                begin.replace(' ', "  "),
                begin.replace("----- ", "-----  ").replace(' ', "   "),
                begin.replace(' ', "\u{a0}"),
                begin.replace("-----", "---"),
                begin.replace("-----", "-"),
                begin.replace("-----", "\u{2014}"),
                begin.replace("-----", ""),
                begin.replace("-----B", "B"),
                begin.trim_end_matches('-').to_owned(),
                format!("  # {begin}"),
                begin.replace("BEGIN", "END"),
                begin.replace("BEGIN", " end"),
            ] {
                for line_end in ["\n", "\r\n", "\r"] {
                    for bundle in [
                        format!("{CERTIFICATE}{line}{line_end}{KEY}{line_end}"),
                        format!("{line}{line_end}{KEY}{line_end}{CERTIFICATE}"),
                        format!("{CERTIFICATE}{KEY}{line_end}{line}{line_end}{CERTIFICATE}"),
                    ] {
                        let problem = parse_ca_bundle(&bundle).err().unwrap_or_default();
                        assert!(problem.starts_with("spec.caBundle contains a private key in PEM block "), "{bundle}");
                        assert!(!problem.to_lowercase().contains(&KEY[..6].to_lowercase()), "{problem}");
                    }
                }
            }
        }
        let split = format!("{CERTIFICATE}-----BEGIN\nRSA PRIVATE KEY-----\n{KEY}\n");
        assert!(parse_ca_bundle(&split).unwrap_err().contains("a private key in PEM block 2. "));
    }

    #[test]
    fn another_block_or_an_invalid_certificate_is_named_by_its_position() {
        let invalid = block("CERTIFICATE");
        let cut = CERTIFICATE.replace("-----END CERTIFICATE-----\n", "");
        for (bundle, expected) in [
            (String::new(), "spec.caBundle contains no PEM certificate"),
            (KEY.to_owned(), "spec.caBundle contains no PEM certificate"),
            (format!("{CERTIFICATE}{}", block("CERTIFICATE REQUEST")), "PEM block 2 is not a certificate"),
            (format!("{}{CERTIFICATE}", block("X509 CRL")), "PEM block 1 is not a certificate"),
            (block("PUBLIC KEY"), "PEM block 1 is not a certificate"),
            (invalid.clone(), "certificate 1 is invalid"),
            (format!("{CERTIFICATE}{invalid}{CERTIFICATE}"), "certificate 2 is invalid"),
            (format!("{CERTIFICATE}{cut}"), "certificate 2 is invalid"),
            (format!("{cut}{CERTIFICATE}"), "certificate 1 is invalid"),
            (CERTIFICATE.replace("MII", "M!I"), "certificate 1 is invalid"),
        ] {
            let problem = parse_ca_bundle(&bundle).unwrap_err();
            assert!(problem.contains(expected) && !problem.contains(&KEY[..6]), "{bundle}: {problem}");
        }
    }
}
