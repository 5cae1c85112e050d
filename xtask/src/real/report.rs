//! `docs/conformance.md`.

use std::{collections::BTreeMap, fmt::Write};

use super::{compare::Compared, product::Tested};

const HEAD: &str = "\
# Conformance of the embedded cluster

Written by `cargo xtask test --real`; do not edit. Each case of `crates/embedded/tests/conformance`
runs on the embedded cluster and on a real API server (etcd, API server, controller manager and
scheduler of `testenv/`). Both runs are recorded exchange by exchange and compared: status code,
`Content-Type`, warnings, and the whole body, which is the object, or of a failure its reason,
message and details. Left out of the comparison: names made for one run, `uid`, times,
`resourceVersion` and revisions in texts, continue tokens, `managedFields`.
";

const PRODUCT: &str = "
## The product's own tests

The tests of controllers, dialects, admission and of the way to Kubernetes that have a cluster run on
the embedded one with `cargo test`, and on a real API server with the same assertions. What only the
embedded cluster can do says why.
";

pub(super) fn text(version: &str, all: &[Compared], product: &[Tested]) -> String {
    let sum = |count: fn(&Compared) -> usize| all.iter().map(count).sum::<usize>();
    let compared = all.iter().filter(|case| case.left_out.is_none()).count();
    let mut text = HEAD.to_owned();
    let _infallible = write!(
        text,
        "\nKubernetes {version}: {compared} cases on both clusters, {} answers, {} failures and {} \
         events of watches compared.\n",
        sum(|case| case.objects),
        sum(|case| case.failures),
        sum(|case| case.events),
    );
    explained(&mut text, all);
    text.push_str("\n| case | codes | answers | failures | events | differences |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for case in all {
        row(&mut text, case);
    }
    tested(&mut text, product);
    text
}

/// The tests of the product and where they run.
fn tested(text: &mut String, all: &[Tested]) {
    let left_out = all.iter().filter(|test| test.left_out.is_some()).count();
    text.push_str(PRODUCT);
    let _infallible = write!(
        text,
        "\n{} tests on both clusters, {left_out} on the embedded one only.\n\n| test | runs on |\n|---|---|\n",
        all.len() - left_out,
    );
    for Tested { test, left_out } in all {
        let _infallible = match left_out {
            None => writeln!(text, "| {test} | both |"),
            Some(reason) => writeln!(text, "| {test} | embedded only: {reason} |"),
        };
    }
}

/// The differences that are meant to be.
fn explained(text: &mut String, all: &[Compared]) {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in all.iter().flat_map(|case| &case.explained) {
        *reasons.entry(reason).or_default() += 1;
    }
    if reasons.is_empty() {
        text.push_str("\nThere are no differences.\n");
        return;
    }
    text.push_str("\nKnown differences, each with its reason:\n\n");
    for (reason, cases) in reasons {
        let _infallible = writeln!(text, "- {reason} ({cases})");
    }
}

fn row(text: &mut String, case: &Compared) {
    let name = &case.case;
    if let Some(reason) = &case.left_out {
        let _infallible = writeln!(text, "| {name} | | | | | embedded only: {reason} |");
        return;
    }
    let codes: Vec<_> = case.codes.iter().map(u64::to_string).collect();
    let mut notes: Vec<String> = case.explained.clone();
    notes.extend(case.not_compared.iter().map(|reason| format!("partly compared: {reason}")));
    notes.dedup();
    let notes = if notes.is_empty() { "none".to_owned() } else { notes.join("; ") };
    let _infallible = writeln!(
        text,
        "| {name} | {} | {} | {} | {} | {notes} |",
        codes.join(" "),
        case.objects,
        case.failures,
        case.events,
    );
}
