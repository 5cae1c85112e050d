//! Objects as tables. The descriptions of columns, which no client shows, are not compared.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{Answer, DEFINITIONS, Kit, Widgets};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

async fn ask(kit: &Kit, path: &str, accept: &str) -> Answer {
    let request = http::Request::get(path).header("accept", accept).body(Vec::new()).unwrap();
    kit.unrecorded(request).await
}

/// Names, types, formats and priorities of the columns.
fn columns(table: &Value) -> Value {
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    columns.map(|one| json!([one["name"], one["type"], one["format"], one["priority"]])).collect()
}

#[rstest]
#[case(TABLE, "meta.k8s.io/v1")]
#[case("application/json;as=Table;v=v1beta1;g=meta.k8s.io", "meta.k8s.io/v1beta1")]
#[case(
    "application/x;as=Table, application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "meta.k8s.io/v1"
)]
#[tokio::test]
async fn a_list_as_a_table(#[case] accept: &str, #[case] version: &str) {
    let kit = Kit::new().await;
    let made = kit
        .config_map("a", json!({"data": {"x": "1", "y": "2"}, "metadata": {"labels": {"t": "1"}}}))
        .await;
    let table = ask(&kit, &kit.path("configmaps?labelSelector=t"), accept).await.ok();
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!(version)));
    assert!(table["metadata"]["resourceVersion"].is_string());
    let string = |name: &str, format: &str| json!([name, "string", format, 0]);
    assert_eq!(
        columns(&table),
        json!([string("Name", "name"), string("Data", ""), string("Age", "")])
    );
    let [row] = table["rows"].as_array().unwrap().as_slice() else { panic!("{table}") };
    let cells = row["cells"].as_array().unwrap();
    assert_eq!(cells[..2], [json!("a"), json!(2)]);
    assert!(cells[2].as_str().is_some_and(|age| age.ends_with('s')), "{cells:?}");
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(row["object"]["apiVersion"], version);
    assert_eq!(row["object"]["metadata"], made["metadata"]);
}

#[tokio::test]
async fn rows_bring_what_was_asked_for() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({"data": {"x": "1"}})).await;
    let path = |include: &str| kit.path(&format!("configmaps/a?includeObject={include}"));
    let row = async |include: &str| {
        let table = ask(&kit, &path(include), TABLE).await.ok();
        assert_eq!(table["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
        table["rows"][0]["object"].clone()
    };
    assert_eq!(row("None").await, Value::Null);
    assert_eq!(row("Metadata").await["metadata"]["name"], "a");
    assert_eq!(row("Object").await, made);
    let (code, reason, message) = ask(&kit, &path("All"), TABLE).await.failure();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"), "{message}");
}

#[tokio::test]
async fn a_form_that_is_none_is_not_acceptable() {
    let kit = Kit::new().await;
    for accept in [
        "application/json;as=Nothing;v=v1;g=meta.k8s.io",
        "application/json;as=Table;v=v2;g=meta.k8s.io",
        "application/json;as=Table;v=v1;g=example.org",
    ] {
        let answer = ask(&kit, &kit.path("configmaps"), accept).await;
        assert_eq!(answer.code, 406, "{accept}");
    }
}

#[tokio::test]
async fn definitions_bring_their_columns() {
    let kit = Kit::new().await;
    let widgets = Widgets::new();
    let mut definition = widgets.json();
    definition["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "First", "type": "string", "jsonPath": ".spec.names[0]", "priority": 1},
        {"name": "All", "type": "string", "jsonPath": ".spec.names"},
        {"name": "Ready", "type": "boolean", "jsonPath": ".status.ready"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.colour", "description": "It is."},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    kit.post(DEFINITIONS, definition).await.ok();
    widgets.established(&kit).await;
    let spec = json!({"size": 3, "names": ["x", "y"]});
    kit.post(&widgets.path(&kit, ""), widgets.object("a", spec)).await.ok();
    kit.post(&widgets.path(&kit, ""), widgets.object("b", json!({"size": 4}))).await.ok();
    let table = ask(&kit, &widgets.path(&kit, ""), TABLE).await.ok();
    assert_eq!(
        columns(&table),
        json!([
            ["Name", "string", "name", 0],
            ["Size", "integer", "", 0],
            ["First", "string", "", 1],
            ["All", "string", "", 0],
            ["Ready", "boolean", "", 0],
            ["Wrong", "integer", "", 0],
            ["Age", "date", "", 0],
        ])
    );
    let described: Vec<&Value> =
        [1, 5].map(|at| &table["columnDefinitions"][at]["description"]).into();
    assert_eq!(
        described,
        ["Custom resource definition column (in JSONPath format): .spec.size", "It is."]
    );
    let rows = table["rows"].as_array().unwrap();
    let cells = |row: &Value| row["cells"].as_array().unwrap()[..6].to_vec();
    assert_eq!(
        json!([cells(&rows[0]), cells(&rows[1])]),
        json!([["a", 3, "x", "[\"x\",\"y\"]", null, null], ["b", 4, null, null, null, null],])
    );
}

#[tokio::test]
async fn without_columns_there_are_name_and_age() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let table = ask(&kit, &widgets.path(&kit, ""), TABLE).await.ok();
    assert_eq!(columns(&table), json!([["Name", "string", "name", 0], ["Age", "date", "", 0]]));
    assert_eq!(table["rows"], json!([]));
    let definitions = ask(&kit, &format!("{DEFINITIONS}/{}", widgets.definition), TABLE).await.ok();
    assert_eq!(
        columns(&definitions),
        json!([["Name", "string", "name", 0], ["Created At", "date", "", 0]])
    );
}
