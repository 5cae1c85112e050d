//! `quartermaster hooks`: what came in at the running server, what became of it, do it again.

use std::{fmt::Write as _, path::Path};

use http::Method;
use serde_json::{Value, json};

use crate::{
    cli::{DeliveriesOf, Format, HooksCommand, RedeliverOf, TestOf, UrlOf},
    failure::Failure,
    output,
    remote::Remote,
};

/// Where the API is.
const API: &str = "/api/v1/hooks";

pub(crate) fn run(command: HooksCommand) -> Result<(), Failure> {
    let (server, work) = match &command {
        HooksCommand::Url(of) => (&of.server, Work::Url(of)),
        HooksCommand::Deliveries(of) => (&of.server, Work::Deliveries(of)),
        HooksCommand::Redeliver(of) => (&of.server, Work::Redeliver(of)),
        HooksCommand::Test(of) => (&of.server, Work::Test(of)),
    };
    super::block_on(async {
        let remote = Remote::find(server)?;
        match work {
            Work::Url(of) => url(&remote, of).await,
            Work::Deliveries(of) => deliveries(&remote, of).await,
            Work::Redeliver(of) => redeliver(&remote, of).await,
            Work::Test(of) => test(&remote, of).await,
        }
    })
}

enum Work<'a> {
    Url(&'a UrlOf),
    Deliveries(&'a DeliveriesOf),
    Redeliver(&'a RedeliverOf),
    Test(&'a TestOf),
}

async fn url(remote: &Remote, of: &UrlOf) -> Result<(), Failure> {
    let answer = remote.ask(Method::GET, &format!("{API}/endpoints?paths=full"), None).await?;
    let wanted = |item: &&Value| of.name.as_deref().is_none_or(|name| item["name"] == name);
    let items: Vec<&Value> = list(&answer).iter().filter(wanted).collect();
    if let (Some(name), true) = (&of.name, items.is_empty()) {
        return Err(Failure::new(format!("there is no hook {name}"))
            .hint("`quartermaster hooks url` shows all: namespace, a slash, and the name"));
    }
    print(of.output, &json!({ "items": items }), &["NAME", "SOURCE", "URL"], |item| {
        let urls = item["urls"].as_array().or(item["paths"].as_array());
        let url = urls.and_then(|urls| urls.first()).cloned().unwrap_or_default();
        vec![text(&item["name"]), text(&item["source"]), text(&url)]
    })
}

async fn deliveries(remote: &Remote, of: &DeliveriesOf) -> Result<(), Failure> {
    if let Some(id) = &of.id {
        let path = format!("{API}/deliveries/{}", escaped(id));
        let answer = remote.ask(Method::GET, &path, None).await?;
        // One delivery is too much for a line of a table.
        let format = if of.output == Format::Table { Format::Yaml } else { of.output };
        return print(format, &answer, &[], |_| Vec::new());
    }
    let mut query = format!("limit={}", of.limit);
    let parts = [
        ("endpoint", &of.hook),
        ("state", &of.state),
        ("since", &of.since),
        ("until", &of.until),
        ("repo", &of.repo),
        ("q", &of.search),
        ("cursor", &of.cursor),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            let _never_fails = write!(query, "&{name}={}", escaped(value));
        }
    }
    let answer = remote.ask(Method::GET, &format!("{API}/deliveries?{query}"), None).await?;
    let heads = ["ID", "RECEIVED", "HOOK", "STATE", "ABOUT"];
    print(of.output, &answer, &heads, |item| {
        let subject = item["notifications"][0]["subject"].as_str();
        let about = subject.or(item["reason"].as_str()).unwrap_or_default();
        let cells = ["id", "receivedAt", "endpoint", "state"].map(|name| text(&item[name]));
        cells.into_iter().chain([about.to_owned()]).collect()
    })?;
    if let (Some(next), Format::Table) = (answer["next"].as_str(), of.output) {
        output::note(&format!("there may be more: --cursor {next}"));
    }
    Ok(())
}

async fn redeliver(remote: &Remote, of: &RedeliverOf) -> Result<(), Failure> {
    let mut wish = json!({ "targets": of.targets, "force": of.force });
    if let Some(id) = &of.id {
        let path = format!("{API}/deliveries/{}/redeliver", escaped(id));
        remote.ask(Method::POST, &path, Some(wish)).await?;
        output::note(&format!("{id} is made again"));
        return Ok(());
    }
    if of.hook.is_none() && of.state.is_none() && of.since.is_none() {
        return Err(Failure::usage("say which: an id, --hook, --state or --since"));
    }
    for (name, value) in [("endpoint", &of.hook), ("state", &of.state), ("since", &of.since)] {
        if let Some(value) = value {
            wish[name] = json!(value);
        }
    }
    wish["dryRun"] = json!(of.dry_run);
    let answer = remote.ask(Method::POST, &format!("{API}/redeliver"), Some(wish)).await?;
    for id in answer["ids"].as_array().into_iter().flatten() {
        output::data(&format!("{}\n", text(id)));
    }
    for one in answer["skipped"].as_array().into_iter().flatten() {
        output::note(&format!("{} is left alone: {}", text(&one["id"]), text(&one["reason"])));
    }
    if answer["more"] == true {
        output::note("there are more: run it again");
    }
    Ok(())
}

async fn test(remote: &Remote, of: &TestOf) -> Result<(), Failure> {
    let mut wish = json!({});
    if let Some(event) = &of.event {
        wish["event"] = json!(event);
    }
    if let Some(file) = &of.payload {
        wish["payload"] = json!(payload(file)?);
    }
    let path = format!("{API}/endpoints/{}/test", of.name);
    let answer = remote.ask(Method::POST, &path, Some(wish)).await?;
    if of.output == Format::Table {
        let delivery = match answer["delivery"].as_str() {
            Some(id) => format!(", delivery {id}"),
            None => String::new(),
        };
        let (status, state) = (&answer["status"], text(&answer["state"]));
        let body = text(&answer["body"]);
        output::data(&format!("answered {status} {body}\nstate {state}{delivery}\n"));
    } else {
        print(of.output, &answer, &[], |_| Vec::new())?;
    }
    match answer["status"].as_u64() {
        Some(200..300) => Ok(()),
        _ => Err(Failure::new("the hook did not accept it")),
    }
}

fn payload(file: &Path) -> Result<String, Failure> {
    let read = std::fs::read_to_string(file);
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))
}

fn list(answer: &Value) -> &[Value] {
    answer["items"].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), printable)
}

/// Without what could move the cursor of a terminal: some of these words come from strangers.
fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

/// A text as part of a URL.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let _never_fails = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Prints an answer: as it is, or the cells of each item below their heads.
fn print(
    format: Format,
    answer: &Value,
    heads: &[&str],
    cells: impl Fn(&Value) -> Vec<String>,
) -> Result<(), Failure> {
    let failed = |error: String| Failure::new(format!("cannot print the answer: {error}"));
    let text = match format {
        Format::Json => serde_json::to_string_pretty(answer).map_err(|e| failed(e.to_string()))?,
        Format::Yaml => serde_saphyr::to_string(answer).map_err(|e| failed(e.to_string()))?,
        Format::Table => {
            let heads = heads.iter().map(|head| (*head).to_owned()).collect();
            table(std::iter::once(heads).chain(list(answer).iter().map(cells)).collect())
        }
    };
    output::data(&format!("{}\n", text.trim_end()));
    Ok(())
}

/// Columns as wide as their widest cell.
fn table(rows: Vec<Vec<String>>) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line = row.iter().zip(&widths).fold(String::new(), |mut line, (cell, width)| {
            let _never_fails = write!(line, "{cell:width$}   ");
            line
        });
        let _never_fails = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_terminals_are_safe() {
        let rows = [["A", "B"], ["long", "x"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(table(rows), "A      B\nlong   x\n");
        assert_eq!(text(&json!("a\u{1b}[2Jb")), "a\u{fffd}[2Jb");
        assert_eq!(escaped("a/b c"), "a%2Fb%20c");
    }
}
