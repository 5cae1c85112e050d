//! What the objects of a workspace are called.
//!
//! StatefulSet and Service look as if the API had generated their names, but the suffix comes from
//! the uid of the workspace: a create that is repeated after a crash or on stale caches finds the
//! object of the first try instead of making another.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The longest name of most objects.
const MAX_NAME: usize = 253;
/// StatefulSet names may have 52 characters, so that pod labels stay valid; less dash and suffix.
const STATEFUL_SET_PREFIX: usize = 45;
/// Names of Services and routes may have 63 characters; less dash and suffix.
const SERVICE_PREFIX: usize = 56;
/// What generated names are made of: no vowels, so no words.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;

/// Name of the ServiceAccount.
pub fn service_account(workspace: &str) -> String {
    cut(&format!("ws-{workspace}"), workspace)
}

/// Name of the RoleBinding for a ClusterRole.
pub fn role_binding(workspace: &str, cluster_role: &str) -> String {
    let hash = hex(&format!("{workspace}/{cluster_role}"));
    let prefix = format!("ws-{workspace}");
    format!("{}-{hash}", truncate(&prefix, MAX_NAME - hash.len() - 1))
}

/// Name of the Secret that the connect proxy shows to the workspace.
pub fn connect_secret(workspace: &str) -> String {
    cut(&format!("ws-{workspace}-connect"), workspace)
}

/// Name of the StatefulSet; further tries, if that name belongs to somebody else, give others.
pub fn stateful_set(workspace: &str, uid: &str, attempt: u32) -> String {
    generated(workspace, STATEFUL_SET_PREFIX, &format!("{uid}/StatefulSet/{attempt}"))
}

/// Name of the Service; further tries, if that name belongs to somebody else, give others.
pub fn service(workspace: &str, uid: &str, attempt: u32) -> String {
    generated(workspace, SERVICE_PREFIX, &format!("{uid}/Service/{attempt}"))
}

/// Name of the `VirtualService`; further tries, if that name belongs to somebody else, give others.
pub fn virtual_service(workspace: &str, uid: &str, attempt: u32) -> String {
    generated(workspace, SERVICE_PREFIX, &format!("{uid}/VirtualService/{attempt}"))
}

/// Name of the `HTTPRoute`; further tries, if that name belongs to somebody else, give others.
pub fn http_route(workspace: &str, uid: &str, attempt: u32) -> String {
    generated(workspace, SERVICE_PREFIX, &format!("{uid}/HTTPRoute/{attempt}"))
}

fn generated(workspace: &str, longest: usize, seed: &str) -> String {
    // Dots are not allowed in the names of Services and host names.
    let prefix = format!("ws-{workspace}").replace('.', "-");
    let prefix = truncate(&prefix, longest);
    let dash = if prefix.ends_with('-') { "" } else { "-" };
    let digest = Sha256::digest(seed);
    let suffix: String = digest
        .iter()
        .take(SUFFIX)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect();
    format!("{prefix}{dash}{suffix}")
}

fn cut(name: &str, workspace: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let hash = hex(workspace);
    format!("{}-{hash}", truncate(name, MAX_NAME - hash.len() - 1))
}

/// As much of a text as fits into so many bytes.
pub(crate) fn truncate(text: &str, longest: usize) -> &str {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The first eight hex digits of the SHA-256.
fn hex(text: &str) -> String {
    Sha256::digest(text).iter().take(4).fold(String::new(), |mut hex, byte| {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_read_well() {
        assert_eq!(service_account("lab"), "ws-lab");
        assert_eq!(connect_secret("lab"), "ws-lab-connect");
        assert_eq!(role_binding("lab", "view"), format!("ws-lab-{}", hex("lab/view")));
        let name = stateful_set("lab", "uid-1", 0);
        assert!(name.starts_with("ws-lab-") && name.len() == 12, "{name}");
        assert_eq!(name, stateful_set("lab", "uid-1", 0));
        assert_ne!(name, stateful_set("lab", "uid-2", 0));
        assert_ne!(name, stateful_set("lab", "uid-1", 1));
    }

    #[test]
    fn a_cut_at_a_dash_gets_no_second_one() {
        let workspace = format!("{}-b", "a".repeat(41));
        let name = stateful_set(&workspace, "u", 0);
        assert!(!name.contains("--"), "{name}");
        assert_eq!(name.len(), STATEFUL_SET_PREFIX + SUFFIX);
    }

    proptest! {
        #[test]
        fn names_fit(workspace in "[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", role in "\\PC{1,253}") {
            prop_assert!(service_account(&workspace).len() <= 253);
            prop_assert!(connect_secret(&workspace).len() <= 253);
            prop_assert!(role_binding(&workspace, &role).len() <= 253);
            prop_assert!(stateful_set(&workspace, "u", 0).len() <= 52);
            let service = service(&workspace, "u", 0);
            prop_assert!(service.len() <= 63 && !service.contains('.'));
        }
    }
}
