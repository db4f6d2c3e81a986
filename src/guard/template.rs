//! Addresses that stand for an issuer of many tenants, each with its own.

/// What such an address says where the tenant's id belongs.
const TENANT_PLACEHOLDER: &str = "{tenantid}";

/// The address of one tenant. One without the placeholder is that of every tenant.
pub fn substitute(address: &str, tenant: &str) -> String {
    address.replace(TENANT_PLACEHOLDER, tenant)
}
