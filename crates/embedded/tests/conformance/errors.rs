//! Error bodies, word for word.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{Kit, Widgets, text};

#[tokio::test]
async fn a_missing_object() {
    let kit = Kit::new().await;
    let answer = kit.get(&kit.path("configmaps/none")).await;
    assert_eq!(
        answer.json(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "configmaps \"none\" not found", "reason": "NotFound",
            "details": {"name": "none", "kind": "configmaps"}, "code": 404,
        })
    );
    let path = kit.group_path("apps/v1", "statefulsets/none");
    let answer = kit.get(&path).await;
    assert_eq!(answer.failure().2, "statefulsets.apps \"none\" not found");
    assert_eq!(answer.details(), json!({"name": "none", "group": "apps", "kind": "statefulsets"}));
    for method in ["PUT", "PATCH", "DELETE"] {
        let media =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if method == "DELETE" { "" } else { "{\"metadata\":{\"name\":\"none\"}}" };
        let answer = kit.send(method, &kit.path("configmaps/none"), media, body).await;
        assert_eq!(answer.failure().0, 404, "{method}");
    }
}

#[tokio::test]
async fn an_object_that_exists() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({})).await;
    let object = json!({"metadata": {"name": "a"}});
    let answer = kit.post(&kit.path("configmaps"), object).await;
    assert_eq!(
        answer.json(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "configmaps \"a\" already exists", "reason": "AlreadyExists",
            "details": {"name": "a", "kind": "configmaps"}, "code": 409,
        })
    );
}

#[rstest]
#[case::dots_and_capitals(json!({"name": "A.b"}), "metadata.name", "Invalid value: \"A.b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')")]
#[case::label_key(json!({"name": "a", "labels": {"-a": "b"}}), "metadata.labels", "Invalid value: \"-a\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')")]
#[case::label_value(json!({"name": "a", "labels": {"a": "b c"}}), "metadata.labels", "Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')")]
#[case::no_name(json!({}), "metadata.name", "Required value: name or generateName is required")]
#[tokio::test]
async fn metadata_that_breaks_a_rule(
    #[case] metadata: Value,
    #[case] field: &str,
    #[case] message: &str,
) {
    let kit = Kit::new().await;
    let name = text(&metadata["name"]);
    let answer = kit.post(&kit.path("configmaps"), json!({"metadata": metadata})).await;
    let (code, reason, whole) = answer.failure();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(whole, format!("ConfigMap {name:?} is invalid: {field}: {message}"));
    let details = answer.details();
    assert_eq!(details["kind"], "ConfigMap");
    assert_eq!(details["causes"][0]["field"], field);
    assert_eq!(details["causes"][0]["message"], message);
}

#[tokio::test]
async fn names_that_are_too_long() {
    let kit = Kit::new().await;
    let namespace = json!({"metadata": {"name": "n".repeat(64)}});
    let (code, _, message) = kit.post("/api/v1/namespaces", namespace).await.failure();
    assert_eq!(code, 422);
    assert!(message.contains(": must be no more than 63 characters"), "{message}");
    let object = json!({"metadata": {"name": "n".repeat(254)}});
    let (code, _, message) = kit.post(&kit.path("configmaps"), object).await.failure();
    assert_eq!(code, 422);
    assert!(message.ends_with("must be no more than 253 characters"), "{message}");
}

#[tokio::test]
async fn several_broken_rules_are_told_together() {
    let kit = Kit::new().await;
    let object = json!({"metadata": {"name": "a", "labels": {"a": "-"}, "ownerReferences": [{
        "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""
    }]}});
    let answer = kit.post(&kit.path("configmaps"), object).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 422);
    assert!(message.starts_with("ConfigMap \"a\" is invalid: [metadata.labels: "), "{message}");
    assert!(message.ends_with("]"), "{message}");
    assert_eq!(answer.details()["causes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn two_controllers_are_refused() {
    let kit = Kit::new().await;
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": true});
    let object = json!({"metadata": {"name": "a", "ownerReferences": [owner("p"), owner("q")]}});
    let (code, _, message) = kit.post(&kit.path("configmaps"), object).await.failure();
    assert_eq!(code, 422);
    assert!(message.contains("Only one reference can have Controller set to true. Found \"true\" in references for Pod/p and Pod/q"), "{message}");
}

#[rstest]
#[case::empty("")]
#[case::cut("{\"metadata\":")]
#[case::text("hello")]
#[case::list("[]")]
#[case::number("1")]
#[case::deep(&format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)))]
#[case::wrong_metadata("{\"metadata\":[]}")]
#[case::wrong_name("{\"metadata\":{\"name\":1}}")]
#[case::wrong_labels("{\"metadata\":{\"name\":\"a\",\"labels\":{\"a\":1}}}")]
#[case::wrong_finalizers("{\"metadata\":{\"name\":\"a\",\"finalizers\":[1]}}")]
#[case::wrong_kind("{\"kind\":\"Secret\",\"metadata\":{\"name\":\"a\"}}")]
#[case::wrong_version("{\"apiVersion\":\"v2\",\"metadata\":{\"name\":\"a\"}}")]
#[case::number_for_kind("{\"kind\":1}")]
#[case::other_namespace("{\"metadata\":{\"name\":\"a\",\"namespace\":\"other\"}}")]
#[tokio::test]
async fn bodies_that_cannot_be_read(#[case] body: &str) {
    let kit = Kit::new().await;
    let answer = kit.send("POST", &kit.path("configmaps"), "application/json", body).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"), "{message}");
    assert!(answer.json().get("details").is_none());
}

#[tokio::test]
async fn words_of_unreadable_bodies() {
    let kit = Kit::new().await;
    let send = async |body: &str| {
        kit.send("POST", &kit.path("configmaps"), "application/json", body).await.failure().2
    };
    assert_eq!(
        send("").await,
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
    );
    // The scheme is named by a path that depends on how the server was built.
    let message = send("{\"apiVersion\":\"v2\"}").await;
    assert!(
        message.starts_with("ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/"),
        "{message}"
    );
    assert_eq!(
        send("{\"metadata\":{\"name\":\"a\",\"namespace\":\"other\"}}").await,
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    let body = json!({"metadata": {"name": "b"}});
    assert_eq!(
        kit.put(&kit.path("configmaps/a"), body).await.failure().2,
        "the name of the object (b) does not match the name on the URL (a)"
    );
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let kit = Kit::new().await;
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(5 << 20)}});
    let (code, reason, message) = kit.post(&kit.path("configmaps"), object).await.failure();
    assert_eq!((code, reason.as_str()), (413, "RequestEntityTooLarge"));
    assert_eq!(message, "Request entity too large: limit is 3145728");
}

#[tokio::test]
async fn media_types() {
    let kit = Kit::new().await;
    let path = kit.path("configmaps");
    let body = "{\"metadata\":{\"name\":\"a\"}}";
    let answer = kit.send("POST", &path, "text/csv", body).await;
    assert_eq!((answer.failure().0, answer.failure().1.as_str()), (415, "UnsupportedMediaType"));
    assert_eq!(kit.send("POST", &path, "application/json; charset=utf-8", body).await.code, 201);
    let answer = kit.send("PATCH", &kit.path("configmaps/a"), "application/json", "{}").await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"));
    assert_eq!(message, "415: Unsupported Media Type");
}

#[tokio::test]
async fn paths_that_name_nothing() {
    let kit = Kit::new().await;
    for path in [
        "/nothing",
        "/apis/none.example.com",
        "/apis/none.example.com/v1",
        "/apis/none.example.com/v1/things",
    ] {
        let answer = kit.get(path).await;
        assert_eq!((answer.code, answer.text.as_str()), (404, "404 page not found\n"), "{path}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
    for path in ["/api/v1/things", "/apis/apps/v1/things", "/api/v1/namespaces/default/things/a"] {
        let answer = kit.get(path).await;
        let (code, reason, message) = answer.failure();
        assert_eq!((code, reason.as_str()), (404, "NotFound"), "{path}");
        assert_eq!(message, "the server could not find the requested resource");
        assert_eq!(answer.details(), json!({}));
    }
}

#[tokio::test]
async fn methods_that_do_not_fit() {
    let kit = Kit::new().await;
    for (method, path) in [("PUT", kit.path("configmaps")), ("POST", kit.path("configmaps/a"))] {
        let answer = kit.send(method, &path, "application/json", "{}").await;
        let (code, reason, message) = answer.failure();
        assert_eq!((code, reason.as_str()), (405, "MethodNotAllowed"), "{method} {path}");
        assert_eq!(message, "the server does not allow this method on the requested resource");
    }
    let answer = kit.post("/api/v1/configmaps", json!({"metadata": {"name": "a"}})).await;
    assert_eq!(answer.failure().0, 405);
}

#[tokio::test]
async fn unknown_fields_of_a_custom_resource() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let path = widgets.path(&kit, "");
    let mut widget = widgets.object("w", json!({"size": 1, "weight": 2}));
    widget["more"] = json!(1);
    let answer = kit.post(&format!("{path}?fieldValidation=Strict"), widget.clone()).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"));
    assert_eq!(
        message,
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"more\", unknown field \"spec.weight\""
    );
    let answer = kit.post(&path, widget.clone()).await;
    let warnings: Vec<_> = answer
        .headers
        .get_all("warning")
        .iter()
        .map(|one| one.to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        warnings,
        ["299 - \"unknown field \\\"more\\\"\"", "299 - \"unknown field \\\"spec.weight\\\"\""]
    );
    let made = answer.ok();
    assert!(made.get("more").is_none());
    assert!(made["spec"].get("weight").is_none());
    widget["metadata"]["name"] = "v".into();
    let answer = kit.post(&format!("{path}?fieldValidation=Ignore"), widget).await;
    assert!(answer.headers.get("warning").is_none());
    answer.ok();
    let patch = json!({"spec": {"weight": 1}});
    let strict = format!("{}?fieldValidation=Strict", widgets.path(&kit, "w"));
    let (code, _, message) = kit.merge(&strict, patch).await.failure();
    assert_eq!(code, 422);
    assert!(message.ends_with("strict decoding error: unknown field \"spec.weight\""), "{message}");
}

#[tokio::test]
async fn a_custom_resource_without_kind() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let answer = kit.post(&widgets.path(&kit, ""), json!({"metadata": {"name": "w"}})).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 400);
    assert!(message.contains("Object 'Kind' is missing in"), "{message}");
}

#[tokio::test]
async fn a_custom_resource_that_breaks_its_schema() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let widget = widgets.object("w", json!({"size": 0, "colour": "green"}));
    let answer = kit.post(&widgets.path(&kit, ""), widget).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    // A real server goes through the fields in any order.
    let begin = format!("Widget.{} \"w\" is invalid: [spec.", widgets.group);
    assert!(message.starts_with(&begin), "{message}");
    let mut details = answer.details();
    let causes = details["causes"].as_array_mut().unwrap();
    causes.sort_by_key(|cause| text(&cause["field"]));
    for cause in causes {
        let told = format!("{}: {}", text(&cause["field"]), text(&cause["message"]));
        assert!(message.contains(&told), "{message}");
    }
    assert_eq!(
        details,
        json!({
            "name": "w", "group": widgets.group, "kind": "Widget",
            "causes": [
                {"reason": "FieldValueNotSupported", "field": "spec.colour",
                 "message": "Unsupported value: \"green\": supported values: \"blue\", \"red\""},
                {"reason": "FieldValueInvalid", "field": "spec.size",
                 "message": "Invalid value: 0: spec.size in body should be greater than or equal to 1"},
            ],
        })
    );
    let wrong_type = widgets.object("w", json!({"size": "x"}));
    let answer = kit.post(&widgets.path(&kit, ""), wrong_type).await;
    assert_eq!(answer.details()["causes"][0]["reason"], "FieldValueTypeInvalid");
    let missing = widgets.object("w", json!({}));
    let answer = kit.post(&widgets.path(&kit, ""), missing).await;
    assert_eq!(answer.details()["causes"][0]["message"], "Required value");
}

#[rstest]
#[case("labelSelector=a%20b")]
#[case("labelSelector=%3Da")]
#[case("fieldSelector=metadata.nothing%3Da")]
#[case("fieldSelector=a")]
#[case("limit=x")]
#[case("continue=x")]
#[tokio::test]
async fn queries_that_cannot_be_read(#[case] query: &str) {
    let kit = Kit::new().await;
    let answer = kit.get(&kit.path(&format!("configmaps?{query}"))).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"), "{message}");
}

#[tokio::test]
async fn unknown_fields_of_a_built_in_kind() {
    let kit = Kit::new().await;
    let object = json!({"metadata": {"name": "a"}, "date": {"k": "v"}});
    let strict = kit.path("configmaps?fieldValidation=Strict");
    let (code, reason, message) = kit.post(&strict, object.clone()).await.failure();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"));
    assert_eq!(
        message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"date\""
    );
    let answer = kit.post(&kit.path("configmaps"), object).await;
    assert_eq!(answer.headers["warning"], "299 - \"unknown field \\\"date\\\"\"");
    assert!(answer.ok().get("date").is_none());
}

#[rstest]
#[case::secret_data("secrets", json!({"data": {"k": "not base64!"}}), 400)]
#[case::data_type("configmaps", json!({"data": {"k": 1}}), 400)]
#[case::pod_without_containers("pods", json!({"spec": {"containers": []}}), 422)]
#[case::pod_without_spec("pods", json!({}), 422)]
#[case::service_port("services", json!({"spec": {"ports": [{"port": 70_000}]}}), 422)]
#[case::service_name("services", json!({"metadata": {"name": "1a"}, "spec": {"ports": [{"port": 80}]}}), 422)]
#[case::claim_without_size("persistentvolumeclaims", json!({"spec": {"accessModes": ["ReadWriteOnce"]}}), 422)]
#[tokio::test]
async fn built_in_kinds_have_rules(
    #[case] plural: &str,
    #[case] extra: Value,
    #[case] expected: u16,
) {
    let kit = Kit::new().await;
    let mut object = json!({"metadata": {"name": "a"}});
    json_patch::merge(&mut object, &extra);
    let answer = kit.post(&kit.path(plural), object).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, expected, "{message}");
}
