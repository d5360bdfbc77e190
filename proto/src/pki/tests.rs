//! What is issued, what is refused, and that requests cannot bend either (class B5).

use rcgen::DnValue;
use rcgen::string::Ia5String;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::UnixTime;

use super::*;
use crate::identity::IdentityError;

const NOW: WallTime = WallTime(1_800_000_000_000);
const HOUR: u64 = 3600 * 1000;

fn fleet() -> FleetName {
    "test".parse().unwrap()
}

fn root() -> Root {
    Root::generate(&fleet(), NOW).unwrap()
}

fn issuer(root: &Root) -> Issuer {
    let key = SecretKey::generate().unwrap();
    let certificate =
        root.issue_intermediate(&key.request().unwrap(), &"c1".parse().unwrap(), NOW).unwrap();
    Issuer::new(fleet(), certificate, &key).unwrap()
}

fn request() -> Vec<u8> {
    SecretKey::generate().unwrap().request().unwrap()
}

fn agent(issuer: &Issuer, request: &[u8], now: WallTime) -> Issued {
    issuer.issue_agent(request, &"aws".parse().unwrap(), &"aws-1".parse().unwrap(), now).unwrap()
}

/// Judges a chain as a server of the fleet would, at a moment of our choosing.
fn accepted(root: &Root, chain: &[CertificateDer<'static>], at_ms: u64) -> bool {
    let mut store = RootCertStore::empty();
    store.add(root.certificate().clone()).unwrap();
    let provider = std::sync::Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(std::sync::Arc::new(store), provider);
    let at = UnixTime::since_unix_epoch(Duration::from_millis(at_ms));
    verifier.build().unwrap().verify_client_cert(&chain[0], &chain[1..], at).is_ok()
}

#[test]
fn an_agents_leaf_is_valid_for_a_day_and_says_who_it_is() {
    let (root, now) = (root(), NOW.0);
    let issued = agent(&issuer(&root), &request(), NOW);
    assert_eq!(issued.chain.len(), 2);
    assert_eq!(issued.verified.identity.to_string(), "spiffe://test/region/aws/agent/aws-1");
    assert_eq!((issued.verified.role, issued.verified.serial.len()), (None, 32));
    assert_eq!(issued.verified.not_after, WallTime(now + 24 * HOUR));
    for (at, expected) in [
        (now, true),
        (now - 5 * 60 * 1000, true),
        (now - 6 * 60 * 1000, false),
        (now + 24 * HOUR - 1000, true),
        (now + 24 * HOUR + 1000, false),
    ] {
        assert_eq!(accepted(&root, &issued.chain, at), expected, "at {at}");
    }
}

#[test]
fn a_persons_leaf_carries_the_role_and_ends_after_a_working_day() {
    let root = root();
    for role in Role::ALL {
        let name = "jane.doe".parse().unwrap();
        let issued = issuer(&root).issue_user(&request(), &name, role, NOW).unwrap();
        assert_eq!(issued.verified.identity.to_string(), "spiffe://test/user/jane.doe");
        assert_eq!(issued.verified.role, Some(role));
        assert_eq!(issued.verified.not_after, WallTime(NOW.0 + 8 * HOUR));
        assert!(accepted(&root, &issued.chain, NOW.0));
    }
}

#[test]
fn only_controllers_may_serve() {
    let (root, request) = (root(), request());
    let issuer = issuer(&root);
    let usages = |issued: &Issued| {
        let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
        let usages = leaf.extended_key_usage().unwrap().unwrap().value;
        (usages.server_auth, usages.client_auth, usages.any)
    };
    let region = "aws".parse().unwrap();
    let controller =
        issuer.issue_controller(&request, &region, &"c1".parse().unwrap(), NOW).unwrap();
    let user = issuer.issue_user(&request, &"jane".parse().unwrap(), Role::Admin, NOW).unwrap();
    assert_eq!(usages(&controller), (true, true, false));
    assert_eq!(usages(&agent(&issuer, &request, NOW)), (false, true, false));
    assert_eq!(usages(&user), (false, true, false));
}

#[test]
fn the_first_admin_is_issued_by_the_root_itself() {
    let root = root();
    let name = "first".parse().unwrap();
    let issued = root.issuer().issue_user(&request(), &name, Role::Admin, NOW).unwrap();
    assert_eq!(issued.chain.len(), 1);
    assert!(accepted(&root, &issued.chain, NOW.0));
}

#[test]
fn of_a_request_only_the_key_is_used() {
    let root = root();
    let pair = KeyPair::generate().unwrap();
    let mut wishes = CertificateParams::new(["evil.example".to_owned()]).unwrap();
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wishes.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    wishes.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::ServerAuth];
    let uri = Ia5String::try_from("spiffe://test/region/aws/controller/c1").unwrap();
    wishes.subject_alt_names.push(SanType::URI(uri));
    wishes.distinguished_name.push(DnType::OrganizationName, DnValue::Utf8String("admin".into()));
    let unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    wishes.custom_extensions.push(unknown);
    let request = wishes.serialize_request(&pair).unwrap();

    let issued = agent(&issuer(&root), request.der(), NOW);
    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(leaf.public_key().raw, pair.subject_public_key_info());
    assert!(!leaf.is_ca());
    assert_eq!(leaf.subject().to_string(), "CN=aws-1");
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.len(), 1);
    let usages = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usages.client_auth && !usages.server_auth && !usages.any);
    let usages = leaf.key_usage().unwrap().unwrap().value;
    assert!(usages.digital_signature() && !usages.key_cert_sign());
    assert!(leaf.iter_extensions().all(|extension| extension.oid.to_id_string() != "1.2.3.4"));
    assert_eq!(issued.verified.not_after, WallTime(NOW.0 + 24 * HOUR));
}

#[test]
fn refuses_requests_that_prove_nothing() {
    let root = root();
    let issuer = issuer(&root);
    let refusal = |request: &[u8]| {
        let (region, node) = ("aws".parse().unwrap(), "aws-1".parse().unwrap());
        issuer.issue_agent(request, &region, &node, NOW).unwrap_err()
    };
    // The last byte lies in the signature.
    let mut forged = request();
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(refusal(&forged), PkiError::Possession));
    let mut longer = request();
    longer.push(0);
    assert!(matches!(refusal(&longer), PkiError::Request));
    assert!(matches!(refusal(&[]), PkiError::Request));
    assert!(matches!(refusal(&vec![0x30; REQUEST_LEN_MAX + 1]), PkiError::Request));
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let other = CertificateParams::default().serialize_request(&other).unwrap();
    assert!(matches!(refusal(other.der()), PkiError::KeyKind));
}

#[test]
fn a_leaf_cannot_issue() {
    let root = root();
    let issuer = issuer(&root);
    let key = SecretKey::generate().unwrap();
    let thief = agent(&issuer, &key.request().unwrap(), NOW);
    let refusal = Issuer::new(fleet(), thief.chain[0].clone(), &key).unwrap_err();
    assert!(matches!(refusal, PkiError::Issuer("it is a leaf")));

    // And what it signs by other means nobody believes.
    let signer = rcgen::Issuer::from_ca_cert_der(&thief.chain[0], key.pair().unwrap()).unwrap();
    let victim = KeyPair::generate().unwrap();
    let identity = "spiffe://test/user/root".parse().unwrap();
    let mut params = leaf(&identity, "root", Some(Role::Admin)).unwrap();
    validity(&mut params, NOW, NOW.0 + HOUR);
    let forged = params.signed_by(&victim, &signer).unwrap();
    let chain = [forged.into(), thief.chain[0].clone(), thief.chain[1].clone()];
    assert!(!accepted(&root, &chain, NOW.0));
}

#[test]
fn an_issuing_key_cannot_make_another_authority() {
    let root = root();
    let issuer = issuer(&root);
    let key = SecretKey::generate().unwrap();
    let params = authority("second", 0).unwrap();
    let second = issuer.sign(params, &key.request().unwrap(), ISSUING_LIFE, NOW).unwrap();
    let second = Issuer::new(fleet(), second, &key).unwrap();
    let mut chain = agent(&second, &request(), NOW).chain;
    chain.push(issuer.certificate.clone());
    assert!(!accepted(&root, &chain, NOW.0));
}

#[test]
fn a_certificate_of_another_root_is_not_accepted() {
    let (ours, theirs) = (root(), root());
    let issued = agent(&issuer(&theirs), &request(), NOW);
    assert!(accepted(&theirs, &issued.chain, NOW.0));
    assert!(!accepted(&ours, &issued.chain, NOW.0));
}

#[test]
fn nothing_outlives_its_issuer() {
    let root = root();
    let issuer = issuer(&root);
    let end = issuer.not_after();
    assert_eq!(end, WallTime(NOW.0 + ISSUING_LIFE.0));
    let late = agent(&issuer, &request(), WallTime(end.0 - HOUR));
    assert_eq!(late.verified.not_after, end);
    let (region, node) = ("aws".parse().unwrap(), "aws-1".parse().unwrap());
    let refusal = issuer.issue_agent(&request(), &region, &node, end).unwrap_err();
    assert!(matches!(refusal, PkiError::Expired(at) if at == end));
}

#[test]
fn an_issuer_needs_its_own_key() {
    let root = root();
    let other = SecretKey::generate().unwrap();
    let refusal = Issuer::new(fleet(), root.certificate().clone(), &other).unwrap_err();
    assert!(matches!(refusal, PkiError::Issuer("its key is another one")));
    assert!(Root::load(fleet(), root.certificate().clone(), root.key().clone()).is_ok());
}

#[test]
fn a_certificate_with_more_or_less_than_one_identity_is_refused() {
    let root = root();
    let pair = KeyPair::generate().unwrap();
    let sign = |uris: &[&str], organisations: &[&str]| {
        let mut params = fresh("x").unwrap();
        let uris = uris.iter().map(|uri| SanType::URI(Ia5String::try_from(*uri).unwrap()));
        params.subject_alt_names = uris.collect();
        for organisation in organisations {
            params.distinguished_name.push(DnType::OrganizationName, *organisation);
        }
        validity(&mut params, NOW, NOW.0 + HOUR);
        let leaf = params.signed_by(&pair, &root.issuer.signer).unwrap();
        Identity::from_certificate(leaf.der())
    };
    let (jane, joe) = ("spiffe://test/user/jane", "spiffe://test/user/joe");
    let node = "spiffe://test/region/aws/agent/aws-1";
    assert!(sign(&[jane], &["admin"]).is_ok());
    assert!(sign(&[node], &[]).is_ok());
    assert_eq!(sign(&[], &["admin"]).unwrap_err(), IdentityError::Identities(0));
    assert_eq!(sign(&[jane, joe], &["admin"]).unwrap_err(), IdentityError::Identities(2));
    assert_eq!(sign(&[jane, jane], &["admin"]).unwrap_err(), IdentityError::Identities(2));
    let with_url = sign(&[jane, "https://example.org"], &["admin"]).unwrap_err();
    assert_eq!(with_url, IdentityError::Identities(2));
    assert!(matches!(sign(&["https://a/b"], &[]), Err(IdentityError::Malformed(_))));
    assert_eq!(sign(&[jane], &["root"]).unwrap_err(), IdentityError::Role("root".to_owned()));
    assert!(matches!(sign(&[jane], &[]), Err(IdentityError::Roles { roles: 0, .. })));
    assert!(matches!(sign(&[node], &["admin"]), Err(IdentityError::Roles { roles: 1, .. })));
    assert_eq!(Identity::from_certificate(root.certificate()), Err(IdentityError::Authority));
}

proptest::proptest! {
    #[test]
    fn no_damage_to_a_request_gets_another_key_signed(
        damage in proptest::collection::vec((0..400_usize, 1..=255_u8), 1..4), cut in 0..40_usize,
    ) {
        let key = SecretKey::generate().unwrap();
        let mut request = key.request().unwrap();
        for (at, flip) in damage {
            let at = at % request.len();
            request[at] ^= flip;
        }
        request.truncate(request.len() - cut.saturating_sub(30));
        if let Ok(signed) = public_key(&request) {
            assert_eq!(signed.der_bytes(), key.pair().unwrap().public_key_raw());
        }
    }

    #[test]
    fn no_damage_to_a_certificate_makes_its_reader_panic(
        damage in proptest::collection::vec((0..900_usize, 1..=255_u8), 1..4),
    ) {
        let mut leaf = agent(root().issuer(), &request(), NOW).chain[0].to_vec();
        for (at, flip) in damage {
            let at = at % leaf.len();
            leaf[at] ^= flip;
        }
        let _whatever = Identity::from_certificate(&leaf).is_ok();
    }
}
