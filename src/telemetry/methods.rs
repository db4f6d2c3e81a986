//! The names of the served methods, as logs, traces and metrics use them.

use std::{collections::HashSet, sync::LazyLock};

use prost_reflect::DescriptorPool;

use crate::proto::DESCRIPTOR;

/// Stands for every method that is not served. The name that the caller sent is not used.
const UNKNOWN_METHOD: &str = "unknown";

/// This call lasts as long as its caller wants, so its duration means nothing.
const WATCH: &str = "grpc.health.v1.Health/Watch";

/// The methods of health and reflection, which need no credential.
const OPEN_METHODS: [&str; 4] = [
    "grpc.health.v1.Health/Check",
    WATCH,
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Every method that is served, as `{service}/{method}`.
static METHODS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTOR).unwrap_or_default();
    let own = pool.services().flat_map(|service| {
        service.methods().map(|method| format!("{}/{}", service.full_name(), method.name())).collect::<Vec<_>>()
    });
    own.chain(OPEN_METHODS.map(str::to_owned)).collect()
});

/// The method in a request's path.
pub(super) fn named_in(path: &str) -> &'static str {
    METHODS.get(path.trim_start_matches('/')).map_or(UNKNOWN_METHOD, String::as_str)
}

/// Every method that is served.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(String::as_str)
}

/// Whether the duration of its calls is measured.
pub(super) fn is_timed(method: &str) -> bool {
    method != WATCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_methods_that_are_served_are_named() {
        assert_eq!(
            named_in("/print.upload.v1.UploadSessions/DeleteUploadSession"),
            "print.upload.v1.UploadSessions/DeleteUploadSession"
        );
        assert_eq!(named_in("/grpc.health.v1.Health/Check"), "grpc.health.v1.Health/Check");
        for odd in ["/", "", "/print.upload.v1.UploadSessions/Nothing", "/uploadSessions/x"] {
            assert_eq!(named_in(odd), UNKNOWN_METHOD, "{odd}");
        }
    }
}
