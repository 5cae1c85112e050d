//! The difference of two texts, as the API server shows it: in the unified form, with three lines
//! around each change, no file names.
//!
//! Which of several equally good differences is shown follows the matcher that the server uses:
//! the longest common run first, then what is before and after it.

use std::{collections::HashMap, fmt::Write as _};

/// Lines around a change.
const CONTEXT: usize = 3;
/// From how many lines on those that come often say nothing.
const MANY: usize = 200;
/// Longer texts are not compared: it would take too long.
const MOST: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: usize,
    to: usize,
}

impl Range {
    fn is_empty(self) -> bool {
        self.from == self.to
    }
}

/// A part of both texts; `same` if it is the same in both.
#[derive(Clone, Copy, Debug)]
struct Part {
    same: bool,
    a: Range,
    b: Range,
}

/// How to get from one text to another.
pub(crate) fn unified(a: &str, b: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('\n').collect(), b.split('\n').collect());
    let mut out = String::new();
    if a.len() > MOST || b.len() > MOST {
        return out;
    }
    for group in groups(&parts(&a, &b)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let range = |from: Range, to: Range| shown(from.from, to.to);
        let _ = writeln!(out, "@@ -{} +{} @@", range(first.a, last.a), range(first.b, last.b));
        for part in group {
            let mut lines = |sign: char, all: &[&str], range: Range| {
                for line in all.get(range.from..range.to).unwrap_or_default() {
                    let _ = writeln!(out, "{sign}{line}");
                }
            };
            if part.same {
                lines(' ', &a, part.a);
            } else {
                lines('-', &a, part.a);
                lines('+', &b, part.b);
            }
        }
    }
    out
}

fn shown(from: usize, to: usize) -> String {
    match to - from {
        1 => (from + 1).to_string(),
        0 => format!("{from},0"),
        length => format!("{},{length}", from + 1),
    }
}

/// The two texts in parts that are the same and parts that are not, by turns.
fn parts(a: &[&str], b: &[&str]) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut i, mut j) = (0, 0);
    let mut push = |same, a: (usize, usize), b: (usize, usize)| {
        let (a, b) = (Range { from: a.0, to: a.1 }, Range { from: b.0, to: b.1 });
        if !a.is_empty() || !b.is_empty() {
            parts.push(Part { same, a, b });
        }
    };
    for (start_a, start_b, size) in runs(a, b) {
        push(false, (i, start_a), (j, start_b));
        push(true, (start_a, start_a + size), (start_b, start_b + size));
        (i, j) = (start_a + size, start_b + size);
    }
    push(false, (i, a.len()), (j, b.len()));
    parts
}

/// The runs of lines that both have: where they start, how long they are.
fn runs(a: &[&str], b: &[&str]) -> Vec<(usize, usize, usize)> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, line) in b.iter().enumerate() {
        places.entry(line).or_default().push(at);
    }
    if b.len() >= MANY {
        let often = b.len() / 100 + 1;
        places.retain(|_, all| all.len() <= often);
    }
    let mut found = Vec::new();
    let mut open = vec![((0, a.len()), (0, b.len()))];
    while let Some((in_a, in_b)) = open.pop() {
        let (i, j, size) = longest(a, b, &places, in_a, in_b);
        if size > 0 {
            found.push((i, j, size));
            open.push(((in_a.0, i), (in_b.0, j)));
            open.push(((i + size, in_a.1), (j + size, in_b.1)));
        }
    }
    found.sort_unstable();
    let mut joined: Vec<(usize, usize, usize)> = Vec::new();
    for (i, j, size) in found {
        match joined.last_mut() {
            Some(last) if last.0 + last.2 == i && last.1 + last.2 == j => last.2 += size,
            _ => joined.push((i, j, size)),
        }
    }
    joined
}

fn longest(
    a: &[&str],
    b: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    (from_a, to_a): (usize, usize),
    (from_b, to_b): (usize, usize),
) -> (usize, usize, usize) {
    let (mut i, mut j, mut size) = (from_a, from_b, 0);
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for (at_a, line) in a.iter().enumerate().take(to_a).skip(from_a) {
        let mut next = HashMap::new();
        let here = places.get(line).map_or(&[][..], Vec::as_slice);
        let first = here.partition_point(|&at| at < from_b);
        for &at_b in here.iter().skip(first).take_while(|&&at| at < to_b) {
            let before = at_b.checked_sub(1).and_then(|before| lengths.get(&before));
            let length = before.unwrap_or(&0) + 1;
            next.insert(at_b, length);
            if length > size {
                (i, j, size) = (at_a + 1 - length, at_b + 1 - length, length);
            }
        }
        lengths = next;
    }
    // Lines that come often are not looked for, but belong to a run beside them.
    while i > from_a && j > from_b && a.get(i - 1) == b.get(j - 1) {
        (i, j, size) = (i - 1, j - 1, size + 1);
    }
    while i + size < to_a && j + size < to_b && a.get(i + size) == b.get(j + size) {
        size += 1;
    }
    (i, j, size)
}

/// Parts that are shown together: changes with what is near them.
fn groups(parts: &[Part]) -> Vec<Vec<Part>> {
    let mut groups: Vec<Vec<Part>> = Vec::new();
    let mut group: Vec<Part> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        if !part.same {
            group.push(*part);
            continue;
        }
        let (is_first, is_last) = (index == 0, index + 1 == parts.len());
        let head = |part: &Part| {
            let end = |range: Range| Range { to: range.to.min(range.from + CONTEXT), ..range };
            Part { a: end(part.a), b: end(part.b), ..*part }
        };
        let tail = |part: &Part| {
            let start = |range: Range| Range {
                from: range.from.max(range.to.saturating_sub(CONTEXT)),
                ..range
            };
            Part { a: start(part.a), b: start(part.b), ..*part }
        };
        if is_first {
            group.push(tail(part));
        } else if is_last {
            group.push(head(part));
        } else if part.a.to - part.a.from > 2 * CONTEXT {
            group.push(head(part));
            groups.push(std::mem::replace(&mut group, vec![tail(part)]));
        } else {
            group.push(*part);
        }
    }
    if group.iter().any(|part| !part.same) {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_shown_with_three_lines_around_it() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni";
        let after = "a\nb\nc\nd\nE\nf\ng\nh\ni";
        assert_eq!(unified(before, after), "@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n");
        assert_eq!(unified(before, before), "");
    }

    #[test]
    fn changes_far_from_each_other_are_shown_apart() {
        let before: Vec<String> = (0..20).map(|line| line.to_string()).collect();
        let mut after = before.clone();
        after[1] = "x".into();
        after.remove(15);
        let text = unified(&before.join("\n"), &after.join("\n"));
        assert_eq!(
            text,
            "@@ -1,5 +1,5 @@\n 0\n-1\n+x\n 2\n 3\n 4\n@@ -13,7 +13,6 @@\n 12\n 13\n 14\n-15\n 16\n 17\n 18\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_turns_one_text_into_the_other(
            a in "([ab{}]\n){0,12}", b in "([ab{}]\n){0,12}",
        ) {
            let (lines_a, lines_b): (Vec<&str>, Vec<&str>) =
                (a.split('\n').collect(), b.split('\n').collect());
            let mut made: Vec<&str> = Vec::new();
            for part in parts(&lines_a, &lines_b) {
                if part.same {
                    prop_assert_eq!(
                        &lines_a[part.a.from..part.a.to], &lines_b[part.b.from..part.b.to]
                    );
                }
                made.extend(&lines_b[part.b.from..part.b.to]);
            }
            prop_assert_eq!(made, lines_b);
        }
    }
}
