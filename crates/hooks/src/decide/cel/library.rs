//! Functions of CEL's extensions for texts, sets and base64. All work is linear in what it is given
//! and makes, which the caller has paid for or pays for before it is made.

use std::{borrow::Cow, rc::Rc};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Error,
    eval::{Outcome, failed},
    value::Val,
};

/// Those whose value is true or false.
pub(super) const TRUTHS: [&str; 3] = ["sets.contains", "sets.equivalent", "sets.intersects"];
/// The others.
pub(super) const VALUES: [&str; 11] = [
    "base64.decode",
    "base64.encode",
    "charAt",
    "indexOf",
    "join",
    "lastIndexOf",
    "replace",
    "reverse",
    "split",
    "substring",
    "trim",
];

/// Whether there is such a function here.
pub(super) fn has(name: &str) -> bool {
    TRUTHS.contains(&name) || VALUES.contains(&name)
}

/// Pays for that many bytes or elements.
type Spend<'s> = &'s mut dyn FnMut(usize) -> Result<(), Error>;

/// The value of a function. Reading the arguments is paid for.
pub(super) fn call<'a>(name: &str, args: &[Val<'a>], spend: Spend<'_>) -> Outcome<'a> {
    match (name, args) {
        ("join", [list]) => join(list, "", spend),
        ("join", [list, Val::Text(between)]) => join(list, between, spend),
        (_, [Val::Text(one), rest @ ..]) => of_text(name, one, rest, spend),
        (_, [one @ (Val::List(_) | Val::Array(_)), two @ (Val::List(_) | Val::Array(_))]) => {
            of_sets(name, one, two, spend)
        }
        _ => failed(format!("{name} does not take these")),
    }
}

fn text<'a>(text: impl Into<String>) -> Outcome<'a> {
    Ok(Val::Text(Cow::Owned(text.into())))
}

fn of_text<'a>(name: &str, one: &str, rest: &[Val<'a>], spend: Spend<'_>) -> Outcome<'a> {
    match (name, rest) {
        ("trim", []) => text(one.trim()),
        ("reverse", []) => text(one.chars().rev().collect::<String>()),
        ("base64.encode", []) => text(STANDARD.encode(one)),
        ("base64.decode", []) => {
            let bytes = STANDARD.decode(one).map_err(|_| Error::Failed("no base64".to_owned()))?;
            String::from_utf8(bytes).map_or_else(|_| failed("the bytes are no text"), text)
        }
        ("charAt", [Val::Int(at)]) => {
            match usize::try_from(*at).ok().and_then(|at| slice(one, at, at + 1)) {
                Some(found) => text(found),
                // Behind the last one there is nothing, and that is no failure.
                None if usize::try_from(*at) == Ok(one.chars().count()) => text(""),
                None => failed("no such place in the text"),
            }
        }
        ("substring", [Val::Int(from)]) => substring(one, *from, None),
        ("substring", [Val::Int(from), Val::Int(to)]) => substring(one, *from, Some(*to)),
        ("indexOf", [Val::Text(two)]) => index_of(one, two, 0),
        ("indexOf", [Val::Text(two), Val::Int(from)]) => index_of(one, two, *from),
        ("lastIndexOf", [Val::Text(two)]) => last_index_of(one, two, None),
        ("lastIndexOf", [Val::Text(two), Val::Int(from)]) => last_index_of(one, two, Some(*from)),
        ("split", [Val::Text(two)]) => split(one, two, -1, spend),
        ("split", [Val::Text(two), Val::Int(most)]) => split(one, two, *most, spend),
        ("replace", [Val::Text(old), Val::Text(new)]) => replace(one, old, new, -1, spend),
        ("replace", [Val::Text(old), Val::Text(new), Val::Int(most)]) => {
            replace(one, old, new, *most, spend)
        }
        _ => failed(format!("{name} does not take these")),
    }
}

/// Where the character of this number begins; the end counts as one.
fn place(text: &str, number: usize) -> Option<usize> {
    let begins = text.char_indices().map(|(at, _)| at);
    begins.chain([text.len()]).nth(number)
}

fn slice(text: &str, from: usize, to: usize) -> Option<&str> {
    text.get(place(text, from)?..place(text, to)?)
}

fn substring<'a>(one: &str, from: i64, to: Option<i64>) -> Outcome<'a> {
    let end = || one.chars().count();
    let from = usize::try_from(from).ok();
    let to = to.map_or_else(|| Some(end()), |to| usize::try_from(to).ok());
    let found = from.zip(to).and_then(|(from, to)| slice(one, from, to));
    found.map_or_else(|| failed("no such part of the text"), text)
}

fn number<'a>(number: Option<usize>) -> Outcome<'a> {
    Ok(Val::Int(number.and_then(|number| i64::try_from(number).ok()).unwrap_or(-1)))
}

fn index_of<'a>(one: &str, two: &str, from: i64) -> Outcome<'a> {
    let Ok(from) = usize::try_from(from) else { return failed("no such place in the text") };
    let found = place(one, from).and_then(|start| {
        let at = one.get(start..)?.find(two)?;
        Some(from + one.get(start..start + at)?.chars().count())
    });
    number(found)
}

fn last_index_of<'a>(one: &str, two: &str, from: Option<i64>) -> Outcome<'a> {
    let length = one.chars().count();
    let from = from.map_or(Ok(length), usize::try_from);
    let Ok(from) = from else { return failed("no such place in the text") };
    if from > length {
        return number(None);
    }
    // What begins there may end behind it.
    let end = place(one, from + two.chars().count()).unwrap_or(one.len());
    let found = one.get(..end).and_then(|before| before.rfind(two));
    number(found.and_then(|at| Some(one.get(..at)?.chars().count())))
}

/// In at most so many parts, or all.
fn split<'a>(one: &str, two: &str, most: i64, spend: Spend<'_>) -> Outcome<'a> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    spend(one.len() / 10)?;
    // Nothing separates all characters.
    let parts: Box<dyn Iterator<Item = &str>> = match (most, two.is_empty()) {
        (0, _) => Box::new(std::iter::empty()),
        (_, false) => Box::new(one.splitn(most, two)),
        (_, true) => Box::new(characters(one, most)),
    };
    let mut list = Vec::new();
    for part in parts {
        spend(1)?;
        list.push(Val::Text(Cow::Owned(part.to_owned())));
    }
    Ok(Val::List(Rc::new(list)))
}

/// All characters; the last of so many parts is the rest.
fn characters(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let mut left = most;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let length = if left == 1 { rest.len() } else { first.len_utf8() };
        let (part, after) = rest.split_at_checked(length)?;
        (rest, left) = (after, left.saturating_sub(1));
        Some(part)
    })
}

fn replace<'a>(one: &str, old: &str, new: &str, most: i64, spend: Spend<'_>) -> Outcome<'a> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let count = one.matches(old).take(most).count();
    spend(one.len().saturating_add(count.saturating_mul(new.len())) / 10)?;
    text(one.replacen(old, new, most))
}

fn join<'a>(list: &Val<'a>, between: &str, spend: Spend<'_>) -> Outcome<'a> {
    let (Val::List(_) | Val::Array(_)) = list else { return failed("join takes a list") };
    let mut joined = String::new();
    for (index, element) in list.elements().unwrap_or_default().into_iter().enumerate() {
        let Val::Text(part) = element else { return failed("join takes texts") };
        let before = if index == 0 { "" } else { between };
        spend((before.len() + part.len()) / 10)?;
        joined.push_str(before);
        joined.push_str(&part);
    }
    text(joined)
}

/// Each element is compared with each.
fn of_sets<'a>(name: &str, one: &Val<'a>, two: &Val<'a>, spend: Spend<'_>) -> Outcome<'a> {
    let weight = |list: &Val<'_>| usize::try_from(list.weight()).unwrap_or(usize::MAX);
    let rounds = |list: &Val<'_>| list.size().unwrap_or(0).saturating_add(1);
    spend(weight(one).saturating_mul(rounds(two)))?;
    spend(weight(two).saturating_mul(rounds(one)))?;
    let (one, two) = (one.elements().unwrap_or_default(), two.elements().unwrap_or_default());
    let holds = |all: &[Val<'a>], some: &Val<'a>| all.iter().any(|element| element.equals(some));
    let within = |all: &[Val<'a>], some: &[Val<'a>]| some.iter().all(|some| holds(all, some));
    Ok(Val::Bool(match name {
        "sets.contains" => within(&one, &two),
        "sets.equivalent" => within(&one, &two) && within(&two, &one),
        "sets.intersects" => two.iter().any(|some| holds(&one, some)),
        _ => return failed(format!("{name} does not take these")),
    }))
}
