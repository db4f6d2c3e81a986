//! The issuers of `--issuer`, each with the tenants that it is bound to.

use std::sync::Arc;

use super::{issuer::IssuerError, template::is_template};
use crate::name::{self, TenantId};

/// An issuer that is trusted, for every tenant or for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrustedIssuer {
    /// The address in its tokens, or a template of addresses.
    pub(super) address: String,
    /// The tenants that it is bound to. `None`: it may speak for every tenant.
    pub(super) tenants: Option<Arc<[TenantId]>>,
}

impl TrustedIssuer {
    /// Reads the values of `--issuer`, split at their commas: `ADDRESS`, `ADDRESS=TENANT`, and further tenants of the
    /// issuer before. An address without a placeholder is that of one issuer, which could sign for every tenant. Beside
    /// other issuers it must be bound: otherwise it could issue tokens in the name of their users.
    pub(super) fn read_all(values: &[String]) -> Result<Vec<Self>, IssuerError> {
        let mut issuers: Vec<Self> = Vec::new();
        let mut values = values.iter().peekable();
        while let Some(value) = values.next() {
            let (address, first) = Self::split(value)?;
            if issuers.iter().any(|issuer| issuer.address == address) {
                return Err(IssuerError::new(address, "is given twice: name it once, as ADDRESS=TENANT,TENANT"));
            }
            let mut tenants: Vec<TenantId> = first.into_iter().collect();
            while let Some(tenant) = values.peek().filter(|_| first.is_some()).and_then(|value| name::guid(value)) {
                tenants.push(TenantId(tenant));
                values.next();
            }
            let tenants = first.is_some().then(|| tenants.into());
            issuers.push(Self { address: address.into(), tenants });
        }
        let is_alone = issuers.len() == 1;
        let unbound = issuers.iter().find(|issuer| issuer.tenants.is_none() && !is_template(&issuer.address));
        match unbound {
            Some(issuer) if !is_alone => Err(IssuerError::new(
                &issuer.address,
                "has no {tenantid} and is not the only one: bind it to its tenants, ADDRESS=TENANT,TENANT",
            )),
            _ => Ok(issuers),
        }
    }

    /// An address, and the first tenant that it is bound to. Splits at the first `=`: an issuer has no query.
    fn split(value: &str) -> Result<(&str, Option<TenantId>), IssuerError> {
        if name::guid(value).is_some() {
            return Err(IssuerError::new(value, "is a tenant, and follows no ADDRESS=TENANT"));
        }
        let Some((address, tenant)) = value.split_once('=') else { return Ok((value, None)) };
        let tenant = name::guid(tenant);
        let tenant = tenant.ok_or_else(|| IssuerError::new(value, "must be ADDRESS=TENANT, with a GUID"))?;
        Ok((address, Some(TenantId(tenant))))
    }

    /// Whether its tokens are accepted in a tenant.
    pub(super) fn may_issue_for(&self, tenant: TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&tenant))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ONE: &str = "11111111-1111-4111-8111-111111111111";
    const TWO: &str = "22222222-2222-4222-8222-222222222222";
    const TEMPLATE: &str = "https://login.example/{tenantid}/v2.0";
    const FIXED: &str = "https://partner.example";

    fn read(values: &str) -> Result<Vec<TrustedIssuer>, IssuerError> {
        TrustedIssuer::read_all(&values.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn tenants_belong_to_the_issuer_before_them() {
        let other = "https://sts.example/{tenantid}/";
        let issuers = read(&format!("{FIXED}={ONE},{TWO},{TEMPLATE},{other}={TWO}")).expect("issuers");
        let addresses: Vec<&str> = issuers.iter().map(|issuer| issuer.address.as_str()).collect();
        assert_eq!(addresses, [FIXED, TEMPLATE, other]);
        let tenants = [ONE, TWO].map(|tenant| TenantId(tenant.parse().expect("a GUID")));
        for (issuer, expected) in issuers.iter().zip([[true, true], [true, true], [false, true]]) {
            assert_eq!(tenants.map(|tenant| issuer.may_issue_for(tenant)), expected, "{issuer:?}");
        }
        assert!(!issuers[0].may_issue_for(TenantId(Uuid::nil())));
    }

    #[test]
    fn an_issuer_without_a_placeholder_beside_others_is_bound() {
        assert!(read(FIXED).is_ok(), "there is no other that it could speak for");
        assert!(read(&format!("{TEMPLATE},https://sts.example/{{tenantid}}/")).is_ok());
        for refused in [format!("{FIXED},{TEMPLATE}"), format!("{TEMPLATE}={ONE},{FIXED}")] {
            let error = read(&refused).expect_err(&refused).to_string();
            assert!(error.starts_with(&format!("issuer {FIXED}: has no {{tenantid}}")), "{error}");
        }
    }

    /// Otherwise its tokens would be accepted for the tenants of both, and its keys fetched twice.
    #[test]
    fn an_issuer_is_given_once() {
        for refused in [
            format!("{TEMPLATE},{TEMPLATE}={ONE}"),
            format!("{FIXED}={ONE},{TEMPLATE},{FIXED}={TWO}"),
            format!("{TEMPLATE},{TEMPLATE}"),
        ] {
            let error = read(&refused).expect_err(&refused).to_string();
            assert!(error.contains("is given twice"), "{error}");
        }
    }

    #[test]
    fn a_tenant_is_a_guid_behind_an_issuer() {
        for refused in [ONE.to_owned(), format!("{TEMPLATE},{ONE}"), format!("{FIXED}="), format!("{FIXED}=contoso")] {
            assert!(read(&refused).is_err(), "{refused}");
        }
    }
}
