//! Refusals as the real server words them, request by request.

use rstest::rstest;
use serde_json::json;

use crate::kit::Kit;

/// Sends one request beside a ConfigMap `a` and holds the answer to what it must be.
async fn refused(request: [&str; 4], code: u16, reason: &str, message: &str) {
    let [method, path, media_type, body] = request;
    let kit = Kit::new().await;
    kit.config_map("a", json!({"data": {"k": "v"}})).await;
    let path = path.replace("NS", &format!("/api/v1/namespaces/{}", kit.namespace));
    let answer = match media_type.strip_prefix("accept ") {
        Some(accept) => kit.send_accepting(method, &path, accept).await,
        None => kit.send(method, &path, media_type, body).await,
    };
    assert_eq!(answer.failure(), (code, reason.to_owned(), message.to_owned()));
}

/// What a body may not be, in the words of the real server.
#[rstest]
#[case::body_empty(["POST", "NS/configmaps?dryRun=All", "application/json", ""], 400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)")]
#[case::body_cut(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":"#], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({"metadata":)"#)]
#[case::body_text(["POST", "NS/configmaps?dryRun=All", "application/json", "hello"], 400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'h' looking for beginning of value (68656c6c6f)")]
#[case::body_list(["POST", "NS/configmaps?dryRun=All", "application/json", "[]"], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#)]
#[case::body_num(["POST", "NS/configmaps?dryRun=All", "application/json", "1"], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (31)"#)]
#[case::body_str(["POST", "NS/configmaps?dryRun=All", "application/json", r#""x""#], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (227822)"#)]
#[case::body_null(["POST", "NS/configmaps?dryRun=All", "application/json", "null"], 422, "Invalid", r#"ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#)]
#[case::body_true(["POST", "NS/configmaps?dryRun=All", "application/json", "true"], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal bool into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (74727565)"#)]
#[case::body_deep(["POST", "NS/configmaps?dryRun=All", "application/json", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b ...)"#)]
#[case::body_metalist(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":[]}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta"#)]
#[case::body_name1(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":1}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"#)]
#[case::body_labelnum(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a","labels":{"a":1}}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"#)]
#[case::body_labelstr(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a","labels":"x"}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string"#)]
#[case::body_finnum(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a","finalizers":[1]}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.finalizers of type string"#)]
#[case::body_kindnum(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"kind":1}"#], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})"#)]
#[case::body_apinum(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"apiVersion":1}"#], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .apiVersion of type string ({"apiVersion":1})"#)]
#[case::body_wrongkind(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"kind":"Secret","metadata":{"name":"a"}}"#], 400, "BadRequest", r#"Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"#)]
#[case::body_wrongkind2(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}"#], 400, "BadRequest", r#"Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"#)]
#[case::body_unkkind(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"kind":"Foo","apiVersion":"v1","metadata":{"name":"a"}}"#], 400, "BadRequest", r#"Foo in version "v1" cannot be handled as a ConfigMap: no kind "Foo" is registered for version "v1" in scheme "pkg/runtime/scheme.go:110""#)]
#[case::body_v2(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}"#], 400, "BadRequest", r#"ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" in scheme "pkg/runtime/scheme.go:110""#)]
#[case::body_v2nokind(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"apiVersion":"v2","metadata":{"name":"a"}}"#], 400, "BadRequest", r#"ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" in scheme "pkg/runtime/scheme.go:110""#)]
#[case::body_appsv1(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"apiVersion":"apps/v1","kind":"ConfigMap","metadata":{"name":"a"}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "apps/v1" in scheme "pkg/runtime/scheme.go:110""#)]
#[case::body_appssts(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"a"}}"#], 400, "BadRequest", r#"StatefulSet in version "v1" cannot be handled as a ConfigMap: converting (v1.StatefulSet) to (core.ConfigMap): unknown conversion"#)]
#[case::body_otherns(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a","namespace":"other"}}"#], 400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")]
#[case::body_datanum(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a"},"data":{"a":1}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string"#)]
#[case::body_dataarr(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a"},"data":[]}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string"#)]
#[case::body_b64(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a"},"binaryData":{"a":"***"}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: illegal base64 data at input byte 0"#)]
#[case::body_b64num(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a"},"binaryData":{"a":5}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.binaryData of type []uint8"#)]
#[case::body_immut(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a"},"immutable":"yes"}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal string into Go struct field ConfigMap.immutable of type bool"#)]
#[case::body_ts2(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a","creationTimestamp":5}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string"#)]
#[case::body_gennum(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a","generation":"x"}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal string into Go struct field ObjectMeta.metadata.generation of type int64"#)]
#[case::body_owner(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a","ownerReferences":[1]}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.ownerReferences of type v1.OwnerReference"#)]
#[case::body_owner2(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a","ownerReferences":[{"controller":"x"}]}}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal string into Go struct field OwnerReference.metadata.ownerReferences.controller of type bool"#)]
#[case::body_trail(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata":{"name":"a"}} x"#], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'x' after top-level value ({"metadata":{"name":"a"}} x)"#)]
#[case::body_key(["POST", "NS/configmaps?dryRun=All", "application/json", "{a:1}"], 400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'a' looking for beginning of object key string ({a:1})")]
#[case::body_comma(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"a":1,}"#], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character '}' looking for beginning of object key string ({"a":1,})"#)]
#[case::body_longtext(["POST", "NS/configmaps?dryRun=All", "application/json", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"], 400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'x' looking for beginning of value (787878787878787878787878787878787878787878787878787878787878 ...)")]
#[case::dup_strict(["POST", "NS/configmaps?fieldValidation=Strict&dryRun=All", "application/json", r#"{"metadata":{"name":"a","name":"b"},"data":{"x":"1","x":"2"},"foo":1,"foo":2}"#], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "metadata.name", duplicate field "data.x", unknown field "foo""#)]
#[case::fv_bad(["POST", "NS/configmaps?fieldValidation=strict", "application/json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 422, "Invalid", r#"CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "strict": supported values: "", "Ignore", "Strict", "Warn""#)]
#[case::dry_bad(["POST", "NS/configmaps?dryRun=some", "application/json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 422, "Invalid", r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["some"]: supported values: "All""#)]
#[case::dry_empty(["POST", "NS/configmaps?dryRun=", "application/json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dryempty"}}"#], 422, "Invalid", r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: [""]: supported values: "All""#)]
#[case::yaml_text(["POST", "NS/configmaps?dryRun=All", "application/yaml", "hello"], 400, "BadRequest", r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (68656c6c6f)"#)]
#[case::yaml_unk(["POST", "NS/configmaps?dryRun=All&fieldValidation=Strict", "application/yaml", "metadata:\n  name: y\nfoo: 1\n"], 400, "BadRequest", r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.name of type string"#)]
#[tokio::test]
async fn bodies(
    #[case] request: [&str; 4],
    #[case] code: u16,
    #[case] reason: &str,
    #[case] message: &str,
) {
    refused(request, code, reason, message).await;
}

/// Media types of bodies and answers.
#[rstest]
#[case::ct_csv(["POST", "NS/configmaps?dryRun=All", "text/csv", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::ct_form(["POST", "NS/configmaps?dryRun=All", "application/x-www-form-urlencoded", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::ct_bad(["POST", "NS/configmaps?dryRun=All", "a/b/c", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::ct_cbor(["POST", "NS/configmaps?dryRun=All", "application/cbor", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::ct_star(["POST", "NS/configmaps?dryRun=All", "*/*", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::ct_put(["PUT", "NS/configmaps/a", "text/csv", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::ct_patch(["PATCH", "NS/configmaps/a", "application/json", "{}"], 415, "UnsupportedMediaType", "415: Unsupported Media Type")]
#[case::ct_patchnone(["PATCH", "NS/configmaps/a", "", "{}"], 415, "UnsupportedMediaType", "415: Unsupported Media Type")]
#[case::acc_csv(["GET", "/api/v1/namespaces/default", "accept text/csv", ""], 406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::acc_xml(["GET", "/api/v1/namespaces/default", "accept application/xml", ""], 406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::acc_asfoo(["GET", "/api/v1/namespaces/default", "accept application/json;as=Foo;g=meta.k8s.io;v=v1", ""], 406, "NotAcceptable", "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::accl_asfoo(["GET", "NS/configmaps", "accept application/json;as=Foo;g=meta.k8s.io;v=v1", ""], 406, "NotAcceptable", "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::acc_pomv2(["GET", "/api/v1/namespaces/default", "accept application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v2", ""], 406, "NotAcceptable", "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::accl_pomv2(["GET", "NS/configmaps", "accept application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v2", ""], 406, "NotAcceptable", "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[tokio::test]
async fn media(
    #[case] request: [&str; 4],
    #[case] code: u16,
    #[case] reason: &str,
    #[case] message: &str,
) {
    refused(request, code, reason, message).await;
}

/// Names, labels, annotations, finalizers and owners that break a rule.
#[rstest]
#[case::meta_caps(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "A.b"}}"#], 422, "Invalid", r#"ConfigMap "A.b" is invalid: metadata.name: Invalid value: "A.b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#)]
#[case::meta_under(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a_b"}}"#], 422, "Invalid", r#"ConfigMap "a_b" is invalid: metadata.name: Invalid value: "a_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#)]
#[case::meta_dash(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "-a"}}"#], 422, "Invalid", r#"ConfigMap "-a" is invalid: metadata.name: Invalid value: "-a": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#)]
#[case::meta_dot(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a..b"}}"#], 422, "Invalid", r#"ConfigMap "a..b" is invalid: metadata.name: Invalid value: "a..b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#)]
#[case::meta_none(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {}}"#], 422, "Invalid", r#"ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#)]
#[case::meta_both(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "", "generateName": ""}}"#], 422, "Invalid", r#"ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#)]
#[case::meta_label1(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "labels": {"-a": "b"}}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.labels: Invalid value: "-a": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#)]
#[case::meta_label2(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "labels": {"a": "b c"}}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.labels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#)]
#[case::meta_label3(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "labels": {"a": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.labels: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": must be no more than 63 characters"#)]
#[case::meta_label4(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "labels": {"x/y/z": "b"}}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.labels: Invalid value: "x/y/z": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"#)]
#[case::meta_label5(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "labels": {"/y": "b"}}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.labels: Invalid value: "/y": prefix part must be non-empty"#)]
#[case::meta_label6(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "labels": {"X_/y": "b"}}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.labels: Invalid value: "X_/y": prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#)]
#[case::meta_label7(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "labels": {"": "b"}}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: [metadata.labels: Invalid value: "": name part must be non-empty, metadata.labels: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]"#)]
#[case::meta_ann1(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "annotations": {"a b": "c"}}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.annotations: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#)]
#[case::meta_fin1(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "finalizers": ["x"]}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.finalizers[0]: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified"#)]
#[case::meta_fin3(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "finalizers": ["a/b/c"]}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.finalizers: Invalid value: "a/b/c": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"#)]
#[case::meta_fin4(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set"#)]
#[case::meta_own1(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.ownerReferences.uid: Invalid value: "": must not be empty"#)]
#[case::meta_own2(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "ownerReferences": [{}]}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: [metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty, metadata.ownerReferences.kind: Invalid value: "": must not be empty, metadata.ownerReferences.name: Invalid value: "": must not be empty, metadata.ownerReferences.uid: Invalid value: "": must not be empty]"#)]
#[case::meta_own3(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "p", "uid": "u"}]}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.ownerReferences: Invalid value: {"apiVersion":"v1","kind":"Event","name":"p","uid":"u"}: /v1, Kind=Event is disallowed from being an owner"#)]
#[case::meta_own4(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "a/b/c", "kind": "Pod", "name": "p", "uid": "u"}]}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.ownerReferences.apiVersion: Invalid value: "a/b/c": version must not be empty"#)]
#[case::meta_own6(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}, {"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "v", "controller": true}]}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","controller":true},{"apiVersion":"v1","kind":"Pod","name":"q","uid":"v","controller":true}]: Only one reference can have Controller set to true. Found "true" in references for Pod/p and Pod/q"#)]
#[tokio::test]
async fn object_metadata(
    #[case] request: [&str; 4],
    #[case] code: u16,
    #[case] reason: &str,
    #[case] message: &str,
) {
    refused(request, code, reason, message).await;
}

/// Selectors, revisions and tokens that make no sense.
#[rstest]
#[case::q_ls1(["GET", "NS/configmaps?labelSelector=a%20b", "", ""], 400, "BadRequest", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt")]
#[case::q_ls2(["GET", "NS/configmaps?labelSelector=%3Da", "", ""], 400, "BadRequest", "found '=', expected: !, identifier, or 'end of string'")]
#[case::q_ls3(["GET", "NS/configmaps?labelSelector=a%3E1,b%3Cx", "", ""], 400, "BadRequest", r#"unable to parse requirement: values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer"#)]
#[case::q_ls4(["GET", "NS/configmaps?labelSelector=a%20in%20b", "", ""], 400, "BadRequest", "unable to parse requirement: found 'b' expected: '('")]
#[case::q_ls5(["GET", "NS/configmaps?labelSelector=a%20in%20(b", "", ""], 400, "BadRequest", "unable to parse requirement: found '', expected: ',' or ')'")]
#[case::q_ls6(["GET", "NS/configmaps?labelSelector=a,", "", ""], 400, "BadRequest", "found '', expected: identifier after ','")]
#[case::q_ls7(["GET", "NS/configmaps?labelSelector=,", "", ""], 400, "BadRequest", "found ',', expected: !, identifier, or 'end of string'")]
#[case::q_ls8(["GET", "NS/configmaps?labelSelector=a%3Db%3Dc", "", ""], 400, "BadRequest", "found '=', expected: ',' or 'end of string'")]
#[case::q_ls9(["GET", "NS/configmaps?labelSelector=-a", "", ""], 400, "BadRequest", r#"unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#)]
#[case::q_ls10(["GET", "NS/configmaps?labelSelector=a%3D-", "", ""], 400, "BadRequest", r#"unable to parse requirement: values[0][a]: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#)]
#[case::q_ls12(["GET", "NS/configmaps?labelSelector=!a%3Db", "", ""], 400, "BadRequest", "found '=', expected: ',' or 'end of string'")]
#[case::q_ls13(["GET", "NS/configmaps?labelSelector=a%3E", "", ""], 400, "BadRequest", r#"unable to parse requirement: values[0]: Invalid value: "": for 'Gt', 'Lt' operators, the value must be an integer"#)]
#[case::q_ls14(["GET", "NS/configmaps?labelSelector=a%20notin", "", ""], 400, "BadRequest", "unable to parse requirement: found '' expected: '('")]
#[case::q_ls15(["GET", "NS/configmaps?labelSelector=a%20foo%20(b)", "", ""], 400, "BadRequest", "unable to parse requirement: found 'foo', expected: in, notin, =, ==, !=, gt, lt")]
#[case::q_ls16(["GET", "NS/configmaps?labelSelector=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "", ""], 400, "BadRequest", r#"unable to parse requirement: <nil>: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": name part must be no more than 63 characters"#)]
#[case::q_ls17(["GET", "NS/configmaps?labelSelector=x/y/z", "", ""], 400, "BadRequest", r#"unable to parse requirement: <nil>: Invalid value: "x/y/z": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"#)]
#[case::q_fs1(["GET", "NS/configmaps?fieldSelector=metadata.nothing%3Da", "", ""], 400, "BadRequest", r#""metadata.nothing" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::q_fs2(["GET", "NS/configmaps?fieldSelector=a", "", ""], 400, "BadRequest", "invalid selector: 'a'; can't understand 'a'")]
#[case::q_fs3(["GET", "NS/configmaps?fieldSelector=metadata.name%3Da%5Cx", "", ""], 400, "BadRequest", r#"invalid field selector: invalid escape sequence: \x"#)]
#[case::q_fs5(["GET", "NS/configmaps?fieldSelector=metadata.name%3C3", "", ""], 400, "BadRequest", "invalid selector: 'metadata.name<3'; can't understand 'metadata.name<3'")]
#[case::q_fs6(["GET", "NS/configmaps?fieldSelector=%3Da", "", ""], 400, "BadRequest", r#""" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::q_fs7(["GET", "NS/configmaps?fieldSelector=data%3Da", "", ""], 400, "BadRequest", r#""data" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::q_fs8(["GET", "NS/configmaps?fieldSelector=metadata.name%3Da%3Db", "", ""], 400, "BadRequest", "invalid field selector: unescaped character in value: 61")]
#[case::q_lim1(["GET", "NS/configmaps?limit=x", "", ""], 400, "BadRequest", r#"strconv.ParseInt: parsing "x": invalid syntax"#)]
#[case::q_cont1(["GET", "NS/configmaps?continue=x", "", ""], 400, "BadRequest", "invalid continue token: continue key is not valid: illegal base64 data at input byte 0")]
#[case::q_cont2(["GET", "NS/configmaps?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9hIn0", "", ""], 400, "BadRequest", "invalid continue token: continue key is not valid: ../a")]
#[case::q_cont3(["GET", "NS/configmaps?continue=eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiJhIn0", "", ""], 400, "BadRequest", "invalid continue token: continue key is not valid: server does not recognize this encoded version v2")]
#[case::q_cont4(["GET", "NS/configmaps?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MH0", "", ""], 400, "BadRequest", "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")]
#[case::q_cont5(["GET", "NS/configmaps?continue=%21%21", "", ""], 400, "BadRequest", "invalid continue token: continue key is not valid: illegal base64 data at input byte 0")]
#[case::q_cont6(["GET", "NS/configmaps?continue=e30", "", ""], 400, "BadRequest", "invalid continue token: continue key is not valid: server does not recognize this encoded version ")]
#[case::q_cont7(["GET", "NS/configmaps?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhXHUwMDAwIn0&resourceVersion=5", "", ""], 400, "BadRequest", "invalid continue token: continue key is not valid: illegal base64 data at input byte 36")]
#[case::q_rv1(["GET", "NS/configmaps?resourceVersion=x", "", ""], 400, "BadRequest", r#"invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#)]
#[case::q_rv2(["GET", "NS/configmaps?resourceVersion=-1", "", ""], 400, "BadRequest", r#"invalid resource version: resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax"#)]
#[case::q_rvm1(["GET", "NS/configmaps?resourceVersionMatch=Exact", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"#)]
#[case::q_rvm2(["GET", "NS/configmaps?resourceVersionMatch=Foo&resourceVersion=1", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", """#)]
#[case::q_rvm3(["GET", "NS/configmaps?resourceVersionMatch=Exact&resourceVersion=0", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0""#)]
#[case::q_rvm6(["GET", "NS/configmaps?resourceVersionMatch=NotOlderThan", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"#)]
#[case::q_rvm7(["GET", "NS/configmaps?resourceVersionMatch=Foo", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, resourceVersionMatch: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""]"#)]
#[case::q_sie1(["GET", "NS/configmaps?sendInitialEvents=true", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"#)]
#[case::q_sie2(["GET", "NS/configmaps?watch=true&sendInitialEvents=true", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"#)]
#[case::q_sie3(["GET", "NS/configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=Exact", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: [resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]"#)]
#[case::q_sie4(["GET", "NS/configmaps?watch=true&resourceVersionMatch=NotOlderThan", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"#)]
#[case::q_sie5(["GET", "NS/configmaps?watch=true&sendInitialEvents=maybe", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"#)]
#[case::q_to1(["GET", "NS/configmaps?timeoutSeconds=x", "", ""], 400, "BadRequest", r#"strconv.ParseInt: parsing "x": invalid syntax"#)]
#[case::q_w2(["GET", "NS/configmaps?watch=true&resourceVersion=x", "", ""], 500, "", r#"resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#)]
#[case::q_w5(["GET", "NS/configmaps?watch=true&fieldSelector=foo%3Da", "", ""], 400, "BadRequest", r#""foo" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::q_w7(["GET", "NS/configmaps?watch=true&continue=abc&timeoutSeconds=1", "", ""], 422, "Invalid", r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"#)]
#[case::q_w9(["GET", "NS/configmaps?watch=true&timeoutSeconds=1&labelSelector=a%20b", "", ""], 400, "BadRequest", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt")]
#[case::q_podfs(["GET", "NS/pods?fieldSelector=spec.foo%3DOpaque", "", ""], 400, "BadRequest", "field label not supported: spec.foo")]
#[case::q_nsfs2(["GET", "/api/v1/namespaces?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", "field label not supported: foo")]
#[case::q_evfs(["GET", "NS/events?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", "field label not supported: foo")]
#[case::q_stsfs(["GET", "/apis/apps/v1/namespaces/probe/statefulsets?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", r#""foo" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::q_stsfs2(["GET", "/apis/apps/v1/namespaces/probe/statefulsets?fieldSelector=status.successful%3Dx", "", ""], 400, "BadRequest", r#""status.successful" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::q_jobfs(["GET", "/apis/batch/v1/namespaces/probe/jobs?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", r#"field label "foo" not supported for Job"#)]
#[case::q_nodefs(["GET", "/api/v1/nodes?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", "field label not supported: foo")]
#[case::q_pvcfs(["GET", "NS/persistentvolumeclaims?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", r#""foo" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::q_crdfs(["GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", r#""foo" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::q_secfs(["GET", "NS/secrets?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", "field label not supported: foo")]
#[case::q_svcfs2(["GET", "NS/services?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", "field label not supported: foo")]
#[case::q_rolefs(["GET", "/apis/rbac.authorization.k8s.io/v1/roles?fieldSelector=foo%3Dx", "", ""], 400, "BadRequest", r#""foo" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[tokio::test]
async fn list_queries(
    #[case] request: [&str; 4],
    #[case] code: u16,
    #[case] reason: &str,
    #[case] message: &str,
) {
    refused(request, code, reason, message).await;
}

/// Replaces and patches that are refused.
#[rstest]
#[case::c2(["POST", "NS/configmaps", "application/json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 409, "AlreadyExists", r#"configmaps "a" already exists"#)]
#[case::c2dry(["POST", "NS/configmaps?dryRun=All", "application/json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#], 409, "AlreadyExists", r#"configmaps "a" already exists"#)]
#[case::c3(["PUT", "NS/configmaps/a", "application/json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}"#], 400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)")]
#[case::c4(["PUT", "NS/configmaps/none", "application/json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "none"}}"#], 404, "NotFound", r#"configmaps "none" not found"#)]
#[case::c5(["PUT", "NS/configmaps/a", "application/json", r#"{"metadata": {"name": "a", "resourceVersion": "1"}}"#], 409, "Conflict", r#"Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#)]
#[case::c7(["PUT", "NS/configmaps/a", "application/json", r#"{"metadata": {"name": "a", "resourceVersion": "x"}}"#], 500, "", r#"strconv.ParseUint: parsing "x": invalid syntax"#)]
#[case::c8(["PUT", "NS/configmaps/a", "application/json", r#"{"metadata": {}}"#], 400, "BadRequest", "the name of the object (a based on URL) was undeterminable: name must be provided")]
#[case::c12(["PUT", "NS/configmaps/a", "application/json", r#"{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}}"#], 400, "BadRequest", r#"Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"#)]
#[case::c13(["PATCH", "NS/configmaps/a", "application/merge-patch+json", r#"{"metadata": {"resourceVersion": "1"}}"#], 409, "Conflict", r#"Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#)]
#[case::c14(["PATCH", "NS/configmaps/a", "application/merge-patch+json", r#"{"metadata": {"uid": "wrong"}}"#], 422, "Invalid", r#"ConfigMap "a" is invalid: metadata.uid: Invalid value: "wrong": field is immutable"#)]
#[case::c15(["PATCH", "NS/configmaps/a", "application/merge-patch+json", r#"{"metadata": {"name": "b"}}"#], 400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)")]
#[case::c16(["PATCH", "NS/configmaps/a", "application/merge-patch+json", r#"{"metadata": {"namespace": "b"}}"#], 400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")]
#[case::m_empty(["PATCH", "NS/configmaps/a", "application/merge-patch+json", ""], 400, "BadRequest", "error decoding patch: unexpected end of JSON input")]
#[case::m_cut(["PATCH", "NS/configmaps/a", "application/merge-patch+json", "{"], 400, "BadRequest", "error decoding patch: unexpected end of JSON input")]
#[case::m_list(["PATCH", "NS/configmaps/a", "application/merge-patch+json", "[]"], 400, "BadRequest", "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}")]
#[case::m_null(["PATCH", "NS/configmaps/a", "application/merge-patch+json", "null"], 400, "BadRequest", "Invalid JSON Patch")]
#[case::m_text(["PATCH", "NS/configmaps/a", "application/merge-patch+json", "x"], 400, "BadRequest", "error decoding patch: invalid character 'x' looking for beginning of value")]
#[case::m_str(["PATCH", "NS/configmaps/a", "application/merge-patch+json", r#""a""#], 400, "BadRequest", "error decoding patch: json: cannot unmarshal string into Go value of type map[string]interface {}")]
#[case::j_empty(["PATCH", "NS/configmaps/a", "application/json-patch+json", ""], 400, "BadRequest", "error decoding patch: unexpected end of JSON input")]
#[case::j_cut(["PATCH", "NS/configmaps/a", "application/json-patch+json", "["], 400, "BadRequest", "error decoding patch: unexpected end of JSON input")]
#[case::j_obj(["PATCH", "NS/configmaps/a", "application/json-patch+json", "{}"], 400, "BadRequest", "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")]
#[case::j_noop(["PATCH", "NS/configmaps/a", "application/json-patch+json", "[{}]"], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::j_badop(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"foo","path":"/a"}]"#], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::j_test(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"test","path":"/data/k","value":"z"}]"#], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::j_testmissing(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"test","path":"/data/zz","value":"z"}]"#], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::j_remmissing(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"remove","path":"/data/zz"}]"#], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::j_addparent(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"add","path":"/foo/bar","value":"1"}]"#], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::j_badptr(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"add","path":"data","value":"1"}]"#], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::j_root(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"replace","path":"","value":{}}]"#], 400, "BadRequest", "the name of the object (a based on URL) was undeterminable: name must be provided")]
#[case::j_remroot(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"remove","path":""}]"#], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::j_num(["PATCH", "NS/configmaps/a", "application/json-patch+json", "[1]"], 400, "BadRequest", "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp")]
#[case::j_remmeta(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"remove","path":"/metadata"}]"#], 400, "BadRequest", "the name of the object (a based on URL) was undeterminable: name must be provided")]
#[case::j_remname(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"remove","path":"/metadata/name"}]"#], 400, "BadRequest", "the name of the object (a based on URL) was undeterminable: name must be provided")]
#[case::j_arr(["PATCH", "NS/configmaps/a", "application/json-patch+json", r#"[{"op":"add","path":"/metadata/finalizers","value":["a/b"]},{"op":"add","path":"/metadata/finalizers/-","value":"a/c"},{"op":"remove","path":"/metadata/finalizers/5"}]"#], 422, "Invalid", "the server rejected our request due to an error in our request")]
#[case::p_none(["PATCH", "NS/configmaps/none", "application/merge-patch+json", "{}"], 404, "NotFound", r#"configmaps "none" not found"#)]
#[case::p_none2(["PATCH", "NS/configmaps/none", "application/json-patch+json", "[]"], 404, "NotFound", r#"configmaps "none" not found"#)]
#[case::p_force(["PATCH", "NS/configmaps/a?force=true", "application/merge-patch+json", "{}"], 422, "Invalid", r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#)]
#[case::fm(["PATCH", "NS/configmaps/a?fieldManager=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "application/merge-patch+json", "{}"], 422, "Invalid", r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes"#)]
#[tokio::test]
async fn changes(
    #[case] request: [&str; 4],
    #[case] code: u16,
    #[case] reason: &str,
    #[case] message: &str,
) {
    refused(request, code, reason, message).await;
}

/// Options of deletions that make no sense.
#[rstest]
#[case::d_text(["DELETE", "NS/configmaps/a", "application/json", "x"], 500, "", "couldn't get version/kind; json parse error: invalid character 'x' looking for beginning of value")]
#[case::d_list(["DELETE", "NS/configmaps/a", "application/json", "[]"], 500, "", r#"couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#)]
#[case::d_kind(["DELETE", "NS/configmaps/a", "application/json", r#"{"kind":"Foo"}"#], 500, "", r#"no kind "Foo" is registered for version "meta.k8s.io/v1" in scheme "pkg/runtime/scheme.go:110""#)]
#[case::d_kind2(["DELETE", "NS/configmaps/a?dryRun=All", "application/json", r#"{"kind":"ConfigMap","apiVersion":"v1"}"#], 500, "", r#"no kind "ConfigMap" is registered for version "v1" in scheme "pkg/runtime/scheme.go:110""#)]
#[case::d_grace(["DELETE", "NS/configmaps/a", "application/json", r#"{"gracePeriodSeconds":"x"}"#], 500, "", "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64")]
#[case::d_dry(["DELETE", "NS/configmaps/a", "application/json", r#"{"dryRun":["some"]}"#], 422, "Invalid", r#"DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["some"]: supported values: "All""#)]
#[case::d_dry2(["DELETE", "NS/configmaps/a", "application/json", r#"{"dryRun":"All"}"#], 500, "", "json: cannot unmarshal string into Go struct field DeleteOptions.dryRun of type []string")]
#[case::d_prop(["DELETE", "NS/configmaps/a", "application/json", r#"{"propagationPolicy":"Foo"}"#], 422, "Invalid", r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil""#)]
#[case::d_both(["DELETE", "NS/configmaps/a", "application/json", r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#], 422, "Invalid", r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set"#)]
#[case::dq_grace(["DELETE", "NS/configmaps/a?gracePeriodSeconds=x", "", ""], 400, "BadRequest", r#"strconv.ParseInt: parsing "x": invalid syntax"#)]
#[case::dq_prop(["DELETE", "NS/configmaps/a?propagationPolicy=Foo", "", ""], 422, "Invalid", r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil""#)]
#[case::dq_dry(["DELETE", "NS/configmaps/a?dryRun=Foo", "", ""], 422, "Invalid", r#"DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Foo"]: supported values: "All""#)]
#[case::dq_both(["DELETE", "NS/configmaps/a?propagationPolicy=Orphan&orphanDependents=true&dryRun=All", "", ""], 422, "Invalid", r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set"#)]
#[case::dq_both2(["DELETE", "NS/configmaps/a?propagationPolicy=Foo&dryRun=bar", "", ""], 422, "Invalid", r#"DeleteOptions.meta.k8s.io "" is invalid: [propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil", dryRun: Unsupported value: ["bar"]: supported values: "All"]"#)]
#[case::d_ct(["DELETE", "NS/configmaps/a?dryRun=All", "text/csv", "{}"], 415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf")]
#[case::dc_sel(["DELETE", "NS/configmaps?labelSelector=a%20b", "", ""], 400, "BadRequest", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt")]
#[case::dc_body(["DELETE", "NS/configmaps", "application/json", "x"], 500, "", "couldn't get version/kind; json parse error: invalid character 'x' looking for beginning of value")]
#[case::dc_fs(["DELETE", "NS/configmaps?fieldSelector=foo%3Da", "", ""], 400, "BadRequest", r#""foo" is not a known field selector: only "metadata.name", "metadata.namespace""#)]
#[case::dc_rv(["DELETE", "NS/configmaps?resourceVersion=x", "", ""], 400, "BadRequest", r#"invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#)]
#[case::dc_prop(["DELETE", "NS/configmaps?propagationPolicy=Foo", "", ""], 422, "Invalid", r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil""#)]
#[case::d_fin6(["GET", "NS/configmaps/fin", "", ""], 404, "NotFound", r#"configmaps "fin" not found"#)]
#[tokio::test]
async fn deletions(
    #[case] request: [&str; 4],
    #[case] code: u16,
    #[case] reason: &str,
    #[case] message: &str,
) {
    refused(request, code, reason, message).await;
}
