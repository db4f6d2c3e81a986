//! Template addresses: one address for the issuers of many tenants.

/// The placeholder for the tenant's id.
const TENANT_PLACEHOLDER: &str = "{tenantid}";

/// Whether an address stands for the issuers of many tenants.
pub fn is_template(address: &str) -> bool {
    address.contains(TENANT_PLACEHOLDER)
}

/// The address for one tenant. Without the placeholder it is the same for every tenant.
pub fn substitute(address: &str, tenant: &str) -> String {
    address.replace(TENANT_PLACEHOLDER, tenant)
}
