//! What hooks need to be allowed in the cluster.

use cluster::permissions::{Rule, WATCH};

/// To serve `Hook` objects.
pub const SERVING: &[Rule] = &[
    Rule::new("quartermaster.io", &["hooks"], WATCH),
    Rule::new("quartermaster.io", &["hooks/status"], &["patch"]),
    Rule::new("quartermaster.io", &["hooks"], &["patch"])
        .or_else("hooks cannot be paused through the API"),
    Rule::new("", &["secrets"], &["get"]),
];
