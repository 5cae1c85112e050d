//! Expressions of filters, on a fixed event.
#![no_main]

use std::sync::LazyLock;

use hooks::decide::cel::{Expression, Input};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// What every operator and function is for.
const EXPRESSIONS: [&str; 18] = [
    "!event.deleted",
    "event.branch == 'main' && headers['x-github-event'] == 'push'",
    "req.ref.startsWith('refs/heads/') || req.ref.endsWith(\"main\")",
    "req.commits.exists(c, c.modified.exists(f, f.contains('docs/')))",
    "req.commits.all(c, size(c.modified) > 1)",
    "req.commits.map(c, c.modified.size()) == [2, 1]",
    "req.commits.filter(c, size(c.modified) == 1).size() == 1",
    "req.commits.exists_one(c, 'src/c.rs' in c.modified)",
    "has(req.labels.app) && !has(req.labels.team)",
    "req.labels.all(key, key.matches('^[a-z]+$'))",
    "req.size + 1 == 4 && req.size * 2 - 1 >= 5u && 7 / 2 <= 3 && -7 % 4 != 3.5e1",
    "req.none == null ? req.size > 0x2 : false",
    "'Ab'.lowerAscii() == 'AB'.upperAscii() && string(3) == '3' && int('4') < double('4.5')",
    "{'a': 1}.a == 1 && [1, 2][1] == 2 && b'\\x00' != r'\\n' && ([1] + [2]) == [1, 2] && claims == null",
    "req.ref.split('/', 2).join('-').replace('a', 'é', 1).trim().reverse().charAt(0) == ''",
    "req.ref.substring(1, 3).indexOf('e', 1) < req.ref.lastIndexOf('/', 9)",
    "sets.contains(req.commits, []) && sets.equivalent([1], [1.0]) || sets.intersects([1], [2])",
    "base64.decode(base64.encode('é')) == dyn('é') && bool('true') && uint('1') == uint(1)",
];

static REQUEST: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "ref": "refs/heads/main", "deleted": false, "size": 3, "ratio": 0.5, "none": null,
        "most": i64::MAX, "least": i64::MIN, "more": u64::MAX, "long": vec![0; 40],
        "commits": [{"modified": ["a.yaml", "docs/b.md"]}, {"modified": ["src/c.rs"]}],
        "labels": {"app": "web"},
    })
});

fuzz_target!(init: hooks_fuzz::seeds(EXPRESSIONS), |text: &str| {
    if let Ok(expression) = Expression::try_from(text.to_owned()) {
        let input = Input { req: &REQUEST, headers: &REQUEST, event: &REQUEST, ..Input::nothing() };
        let _ = expression.passes(input);
    }
    if let Ok(expression) = Expression::compile(text, &["req"]) {
        let _ = expression.value(Input { req: &REQUEST, ..Input::nothing() });
    }
});
