//! Tests of the authorizer: every kind of token, and that a fault never lets anybody in.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3/prod/POST/v1/events";
const STAGE: &str = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3/prod/*";

/// Knows one answer, and counts how often it is asked.
struct Keys {
    answer: Result<Option<Identity>, PortError>,
    asked: AtomicUsize,
}

#[async_trait]
impl KeyLookup for Keys {
    async fn identity_of(&self, _: &str) -> Result<Option<Identity>, PortError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answer.clone()
    }
}

fn key() -> ApiKey {
    ApiKey::from_entropy(&[7; 32])
}

fn admin() -> ApiKey {
    ApiKey::from_entropy(&[9; 32])
}

fn acme(active: bool) -> Result<Option<Identity>, PortError> {
    let tenant = TenantId::try_new("acme").unwrap();
    Ok(Some(Identity { tenant, active, plan: "gold".into() }))
}

/// The answer to a header, and how often the store was asked.
async fn asked(
    answer: Result<Option<Identity>, PortError>,
    header: &str,
) -> (Result<Authorized, AuthorizerError>, usize) {
    let keys = Arc::new(Keys { answer, asked: AtomicUsize::new(0) });
    let authorizer = Authorizer::new(vec![admin().hash()], keys.clone());
    let authorized = authorizer.authorize(header, ARN).await;
    (authorized, keys.asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_live_key_is_allowed_its_stage_and_a_dead_one_nothing() {
    let header = format!("Bearer {}", key().expose());
    let (authorized, asks) = asked(acme(true), &header).await;
    let principal =
        Principal { tenant_id: "acme".to_owned(), status: "active", plan: "gold".to_owned() };
    assert_eq!(authorized, Ok(Authorized::Allow { principal, resource: STAGE.to_owned() }));
    assert_eq!(asks, 1);
    for nobody in [acme(false), Ok(None)] {
        let denied = Ok(Authorized::Deny { resource: STAGE.to_owned() });
        assert_eq!(asked(nobody, &header).await, (denied, 1));
    }
}

/// For all failures of the store: an error, never an answer that the gateway would remember.
#[tokio::test]
async fn a_failing_store_lets_nobody_in() {
    let header = format!("Bearer {}", key().expose());
    for error in [
        PortError::Throttled { retry_after_ms: 100 },
        PortError::Transient("gone".to_owned()),
        PortError::Permanent("denied".to_owned()),
    ] {
        let (authorized, _) = asked(Err(error.clone()), &header).await;
        assert_eq!(authorized, Err(AuthorizerError::Store(error)));
    }
}

/// For all tokens that nobody can have: no look-up, and nobody gets in with a good store behind.
#[tokio::test]
async fn what_is_no_key_is_not_looked_up() {
    let key = key();
    let mistyped = format!("Bearer {}X", &key.expose()[..key.expose().len() - 1]);
    let huge = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
    let no_scheme = key.expose().to_owned();
    let two_spaces = format!("Bearer  {}", key.expose());
    let basic = format!("Basic {}", key.expose());
    let two_tokens = format!("Bearer {0} {0}", key.expose());
    let headers = [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "bearer\tx",
        "Bearer \u{fc}ber",
        "Bearer a\nb",
        "Bearer \0",
        &mistyped,
        &huge,
        &no_scheme,
        &two_spaces,
        &basic,
        &two_tokens,
    ];
    for header in headers {
        let (authorized, asks) = asked(acme(true), header).await;
        assert_eq!((authorized, asks), (Err(AuthorizerError::Unauthorized), 0), "{header:?}");
    }
    let denied = Ok(Authorized::Deny { resource: STAGE.to_owned() });
    assert_eq!(asked(acme(true), "Bearer tenant_acme_key").await, (denied, 0));
}

#[tokio::test]
async fn the_admin_is_known_by_a_hash_and_cannot_be_a_tenant() {
    let header = format!("bearer {}", admin().expose());
    let (authorized, asks) = asked(Ok(None), &header).await;
    let Ok(Authorized::Allow { principal, resource }) = authorized else { panic!("not allowed") };
    assert_eq!((resource.as_str(), asks), (STAGE, 0));
    let caller = Principal::caller(&principal.tenant_id, principal.status);
    assert_eq!(caller, Some(Caller::Admin));
    assert!(TenantId::try_new(ADMIN).is_err(), "no tenant can be taken for the admin");
}

#[test]
fn a_context_that_is_not_ours_is_nobody() {
    let acme = Some(Caller::Tenant(TenantId::try_new("acme").unwrap()));
    assert_eq!(Principal::caller("acme", "active"), acme);
    for (tenant, status) in
        [("acme", "suspended"), ("acme", ""), ("", "active"), ("Not One", "active")]
    {
        assert_eq!(Principal::caller(tenant, status), None, "{tenant} {status}");
    }
}

/// For all ARNs: the answer names one stage of one API, or there is none.
#[test]
fn only_the_stage_that_asked_is_named() {
    assert_eq!(stage_of(ARN).as_deref(), Some(STAGE));
    let gov = "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:a1/test-invoke-stage/GET/";
    let stage = "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:a1/test-invoke-stage/*";
    assert_eq!(stage_of(gov).as_deref(), Some(stage));
    let long = format!("{ARN}{}", "x".repeat(METHOD_ARN_BYTES_MAX));
    for bad in [
        "",
        "x",
        "arn",
        "arn:aws:execute-api:eu-west-1:123456789012",
        "arn:aws:execute-api:eu-west-1:123456789012:*/*/*/*",
        "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3/*/GET/",
        "arn:aws:execute-api:*:*:a1b2c3/prod/GET/",
        "arn:aws:execute-api:eu-west-1::a1b2c3/prod/GET/",
        "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3/prod",
        "arn:aws:lambda:eu-west-1:123456789012:function:prod/x/GET/",
        &long,
    ] {
        assert_eq!(stage_of(bad), None, "{bad}");
    }
}
