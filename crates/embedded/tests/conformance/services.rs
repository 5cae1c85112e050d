//! Services: what they get, what they may ask for. Jobs: which pods are theirs.
//!
//! Addresses in 10.96.0.0/24 and the first ports of nodes are chosen by cases, each by one; servers
//! draw others.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{Kit, text};

async fn make(kit: &Kit, name: &str, spec: Value) -> Value {
    kit.post(&kit.path("services"), json!({"metadata": {"name": name}, "spec": spec})).await.ok()
}

async fn change(kit: &Kit, name: &str, spec: Value) -> Value {
    kit.merge(&kit.path(&format!("services/{name}")), json!({"spec": spec})).await.ok()
}

/// Services that are refused.
#[rstest]
#[case::externalname_required_value(
    r#"{"type": "ExternalName"}"#,
    false,
    "spec.externalName: Required value"
)]
#[case::clusterips_forbidden_may_not_be_set_for_exter(r#"{"type": "ExternalName", "externalName": "a_b", "clusterIP": "10.96.0.7", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}"#, false, r#"[spec.clusterIPs: Forbidden: may not be set for ExternalName services, spec.ipFamilies: Forbidden: may not be set for ExternalName services, spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services, spec.externalName: Invalid value: "a_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')]"#)]
#[case::ports_0_nodeport_invalid_value_80_provided_por(
    r#"{"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}"#,
    false,
    "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
)]
#[case::ports_0_nodeport_invalid_value_99999_provided(
    r#"{"type": "NodePort", "ports": [{"port": 80, "nodePort": 99999}]}"#,
    false,
    "spec.ports[0].nodePort: Invalid value: 99999: provided port is not in the valid range. The range of valid ports is 30000-32767"
)]
#[case::ports_0_nodeport_forbidden_may_not_be_used_whe(
    r#"{"ports": [{"port": 80, "nodePort": 30012}]}"#,
    false,
    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"
)]
#[case::clusterips_0_invalid_value_none_may_not_be_set(
    r#"{"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}"#,
    false,
    r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#
)]
#[case::dry_clusterips_invalid_value_1_2_3_4_failed_to_all(r#"{"clusterIP": "1.2.3.4", "ports": [{"port": 80}]}"#, true, r#"spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is 10.96.0.0/16"#)]
#[case::clusterips_invalid_value_1_2_3_4_failed_to_all_2(r#"{"clusterIP": "1.2.3.4", "ports": [{"port": 80}]}"#, false, r#"spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the provided network does not match the current range"#)]
#[case::clusterips_invalid_value_10_96_0_0_failed_to_a(r#"{"clusterIP": "10.96.0.0", "ports": [{"port": 80}]}"#, false, r#"spec.clusterIPs: Invalid value: ["10.96.0.0"]: failed to allocate IP 10.96.0.0: the provided network does not match the current range"#)]
#[case::clusterips_0_invalid_value_abc_must_be_a_valid(r#"{"clusterIP": "abc", "ports": [{"port": 80}]}"#, false, r#"spec.clusterIPs[0]: Invalid value: "abc": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#)]
#[case::clusterips_0_invalid_value_fd00_5_ipv6_is_not(
    r#"{"clusterIP": "fd00::5", "ports": [{"port": 80}]}"#,
    false,
    r#"spec.clusterIPs[0]: Invalid value: ["fd00::5"]: IPv6 is not configured on this cluster"#
)]
#[case::clusterips_invalid_value_10_96_0_11_first_valu(
    r#"{"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.11"], "ports": [{"port": 80}]}"#,
    false,
    r#"spec.clusterIPs: Invalid value: ["10.96.0.11"]: first value must match `clusterIP`"#
)]
#[case::clusterips_invalid_value_10_96_0_11_must_be_em(r#"{"clusterIPs": ["10.96.0.11"], "ports": [{"port": 80}]}"#, false, r#"spec.clusterIPs: Invalid value: ["10.96.0.11"]: must be empty when `clusterIP` is not specified"#)]
#[case::clusterips_invalid_value_10_96_0_10_10_96_0_11(r#"{"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "10.96.0.11"], "ports": [{"port": 80}]}"#, false, r#"spec.clusterIPs: Invalid value: ["10.96.0.10","10.96.0.11"]: may specify no more than one IP for each IP family"#)]
#[case::ipfamilypolicy_invalid_value_singlestack_must(r#"{"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::1"], "ports": [{"port": 80}]}"#, false, r#"[spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified, spec.clusterIPs[1]: Invalid value: ["10.96.0.10","fd00::1"]: IPv6 is not configured on this cluster]"#)]
#[case::clusterips_invalid_value_none_10_96_0_11_none(r#"{"clusterIP": "None", "clusterIPs": ["None", "10.96.0.11"], "ports": [{"port": 80}]}"#, false, r#"spec.clusterIPs: Invalid value: ["None","10.96.0.11"]: 'None' must be the first and only value"#)]
#[case::ipfamilypolicy_invalid_value_requiredualstack(r#"{"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}"#, false, r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#)]
#[case::ipfamilies_0_invalid_value_ipv6_not_configured(
    r#"{"ipFamilies": ["IPv6"], "ports": [{"port": 80}]}"#,
    false,
    r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#
)]
#[case::ipfamilypolicy_invalid_value_singlestack_must_2(r#"{"ipFamilies": ["IPv4", "IPv6"], "ports": [{"port": 80}]}"#, false, r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"#)]
#[case::ipfamilies_1_duplicate_value_ipv4_ipfamilypol(r#"{"ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "X", "ports": [{"port": 80}]}"#, false, r#"[spec.ipFamilies[1]: Duplicate value: "IPv4", spec.ipFamilyPolicy: Unsupported value: "X": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"]"#)]
#[case::ipfamilies_0_unsupported_value_ipx_supported_v(
    r#"{"ipFamilies": ["IPx"], "ports": [{"port": 80}]}"#,
    false,
    r#"spec.ipFamilies[0]: Unsupported value: "IPx": supported values: "IPv4", "IPv6""#
)]
#[case::loadbalancersourceranges_0_invalid_value_1_2(r#"{"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30011, "loadBalancerClass": "a b", "loadBalancerSourceRanges": ["1.2.3.4", "1.2.3.0/24"], "ports": [{"port": 80}]}"#, false, r#"[spec.LoadBalancerSourceRanges[0]: Invalid value: "1.2.3.4": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64), spec.loadBalancerClass: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]"#)]
#[case::ports_0_name_required_value_ports_0_port_inva(r#"{"type": "X", "ports": [{"port": 0, "protocol": "FOO", "targetPort": 70000, "appProtocol": "a b"}, {"port": 80, "name": "A"}], "sessionAffinity": "Y", "selector": {"a b": "c d"}, "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Z", "trafficDistribution": "W", "healthCheckNodePort": 5, "loadBalancerClass": "x", "allocateLoadBalancerNodePorts": true, "loadBalancerSourceRanges": ["x"], "externalIPs": ["127.0.0.1", "x", "0.0.0.0"]}"#, false, r#"[spec.ports[0].name: Required value, spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, spec.ports[0].protocol: Unsupported value: "FOO": supported values: "SCTP", "TCP", "UDP", spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive, spec.ports[0].appProtocol: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), spec.ports[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), spec.selector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), spec.selector: Invalid value: "c d": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?'), spec.sessionAffinity: Unsupported value: "Y": supported values: "ClientIP", "None", spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128), spec.externalIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff), spec.externalIPs[2]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0), spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort", spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer', spec.LoadBalancerSourceRanges[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64), spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer', spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer', spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services, spec.healthCheckNodePort: Invalid value: 5: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local', spec.internalTrafficPolicy: Unsupported value: "Z": supported values: "Cluster", "Local", spec.trafficDistribution: Unsupported value: "W": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"]"#)]
#[case::ports_required_value("{}", false, "spec.ports: Required value")]
#[case::sessionaffinityconfig_clientip_timeoutseconds(r#"{"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}, "ports": [{"port": 80}]}"#, false, "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400")]
#[tokio::test]
async fn refusals(#[case] spec: &str, #[case] dry_run: bool, #[case] message: &str) {
    let kit = Kit::new().await;
    let spec: Value = serde_json::from_str(spec).unwrap();
    let path = kit.path(if dry_run { "services?dryRun=All" } else { "services" });
    let answer = kit.post(&path, json!({"metadata": {"name": "a"}, "spec": spec})).await;
    let (code, reason, whole) = answer.failure();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(whole, format!("Service \"a\" is invalid: {message}"));
}

#[tokio::test]
async fn a_service_gets_an_address() {
    let kit = Kit::new().await;
    let plain = make(&kit, "plain", json!({"ports": [{"port": 80}]})).await;
    let address = text(&plain["spec"]["clusterIP"]);
    assert!(address.starts_with("10.96."), "{address}");
    assert_eq!(plain["spec"]["clusterIPs"], json!([address]));
    assert_eq!(plain["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(plain["spec"]["ipFamilyPolicy"], "SingleStack");
    assert_eq!(plain["spec"]["internalTrafficPolicy"], "Cluster");
    let other = make(&kit, "other", json!({"ports": [{"port": 80}]})).await;
    assert_ne!(other["spec"]["clusterIP"], plain["spec"]["clusterIP"]);
    let prefer = json!({"ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 80}]});
    assert_eq!(make(&kit, "prefer", prefer).await["spec"]["ipFamilies"], json!(["IPv4"]));
    let dry = json!({"metadata": {"name": "dry"}, "spec": {"type": "NodePort", "ports": [
        {"port": 80, "name": "a"}, {"port": 81, "name": "b"},
    ]}});
    let dry = kit.post(&kit.path("services?dryRun=All"), dry).await.ok();
    assert_eq!(dry["spec"]["clusterIP"], "10.96.0.0");
    assert_eq!(dry["spec"]["ports"][1]["nodePort"], 32770);
}

#[tokio::test]
async fn some_services_have_no_address() {
    let kit = Kit::new().await;
    let headless = json!({"clusterIP": "None", "selector": {"a": "b"}});
    let headless = make(&kit, "headless", headless).await;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4"]));
    let bare = make(&kit, "bare", json!({"clusterIP": "None"})).await;
    assert_eq!(bare["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(bare["spec"]["ipFamilyPolicy"], "RequireDualStack");
    let single = change(&kit, "bare", json!({"ipFamilyPolicy": "SingleStack"})).await;
    assert_eq!(single["spec"]["ipFamilies"], json!(["IPv4"]));
    let named = json!({"type": "ExternalName", "externalName": "example.com"});
    let named = make(&kit, "named", named).await;
    assert_eq!(named["spec"].get("clusterIP"), None);
    assert_eq!(named["spec"].get("internalTrafficPolicy"), None);
}

#[tokio::test]
async fn an_address_is_given_once() {
    let kit = Kit::new().await;
    let spec = json!({"clusterIP": "10.96.0.31", "ports": [{"port": 80}]});
    assert_eq!(
        make(&kit, "first", spec.clone()).await["spec"]["clusterIPs"],
        json!(["10.96.0.31"])
    );
    let second = json!({"metadata": {"name": "second"}, "spec": spec});
    let (code, _, message) = kit.post(&kit.path("services"), second.clone()).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "Service \"second\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.31\"]: failed to allocate IP 10.96.0.31: provided IP is already allocated"
    );
    kit.delete(&kit.path("services/first"), Value::Null).await.ok();
    kit.post(&kit.path("services"), second).await.ok();
    let reserved = json!({"metadata": {"name": "a"}, "spec": {
        "clusterIP": "10.96.0.1", "ports": [{"port": 80}],
    }});
    assert_eq!(kit.post(&kit.path("services"), reserved).await.code, 422);
}

#[tokio::test]
async fn ports_of_nodes() {
    let kit = Kit::new().await;
    let spec = json!({"type": "NodePort", "ports": [
        {"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "UDP"},
        {"port": 81, "name": "c"},
    ]});
    let drawn = make(&kit, "drawn", spec).await;
    let port = |index: usize| drawn["spec"]["ports"][index]["nodePort"].as_i64().unwrap();
    assert!(30000 <= port(0) && port(0) <= 32767);
    assert_eq!(port(0), port(1));
    assert_ne!(port(0), port(2));
    let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]});
    make(&kit, "chosen", spec.clone()).await;
    let again = json!({"metadata": {"name": "again"}, "spec": spec});
    let (code, _, message) = kit.post(&kit.path("services"), again.clone()).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "Service \"again\" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"
    );
    let dry = kit.post(&kit.path("services?dryRun=All"), again.clone()).await;
    assert_eq!(dry.code, 422);
    kit.delete(&kit.path("services/chosen"), Value::Null).await.ok();
    kit.post(&kit.path("services"), again).await.ok();
    let twice = json!({"metadata": {"name": "twice"}, "spec": {"type": "NodePort", "ports": [
        {"port": 80, "nodePort": 30002, "name": "a"}, {"port": 81, "nodePort": 30002, "name": "b"},
    ]}});
    assert_eq!(kit.post(&kit.path("services"), twice).await.code, 422);
}

#[tokio::test]
async fn a_balancer_has_ports_of_nodes_and_for_health() {
    let kit = Kit::new().await;
    let plain = make(&kit, "plain", json!({"type": "LoadBalancer", "ports": [{"port": 80}]})).await;
    assert!(plain["spec"]["ports"][0]["nodePort"].is_number());
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}],
    });
    let local = make(&kit, "local", spec).await;
    assert!(local["spec"]["healthCheckNodePort"].is_number());
    assert_eq!(local["spec"]["ports"][0].get("nodePort"), None);
    let other = kit
        .merge(&kit.path("services/local"), json!({"spec": {"healthCheckNodePort": 30003}}))
        .await;
    assert_eq!(
        other.failure().2,
        "Service \"local\" is invalid: spec.healthCheckNodePort: Forbidden: field is immutable"
    );
}

#[tokio::test]
async fn a_service_of_another_type_keeps_what_it_needs() {
    let kit = Kit::new().await;
    let made = make(&kit, "a", json!({"ports": [{"port": 80}]})).await;
    let address = text(&made["spec"]["clusterIP"]);
    for other in ["10.96.0.32", "None"] {
        let patch = json!({"spec": {"clusterIP": other}});
        let answer = kit.merge(&kit.path("services/a"), patch).await;
        let shown = json!([other]);
        assert_eq!(
            answer.failure().2,
            format!(
                "Service \"a\" is invalid: spec.clusterIPs[0]: Invalid value: {shown}: may not change once set"
            )
        );
    }
    // What is left out stays.
    assert_eq!(change(&kit, "a", json!({"clusterIP": null})).await["spec"]["clusterIP"], address);
    let named = json!({"type": "ExternalName", "externalName": "x.y"});
    assert_eq!(change(&kit, "a", named).await["spec"].get("clusterIPs"), None);
    let back = change(&kit, "a", json!({"type": "ClusterIP", "externalName": null})).await;
    assert!(text(&back["spec"]["clusterIP"]).starts_with("10.96."));
    let open = change(&kit, "a", json!({"type": "NodePort"})).await;
    assert!(open["spec"]["ports"][0]["nodePort"].is_number());
    assert_eq!(open["spec"]["externalTrafficPolicy"], "Cluster");
    let more = json!({"ports": [
        {"port": 80, "name": "a"}, {"port": 81, "name": "b", "nodePort": 30004},
    ]});
    change(&kit, "a", more).await;
    change(&kit, "a", json!({"type": "LoadBalancer"})).await;
    change(&kit, "a", json!({"externalTrafficPolicy": "Local"})).await;
    let closed = change(&kit, "a", json!({"type": "ClusterIP"})).await;
    assert_eq!(closed["spec"]["ports"][1].get("nodePort"), None);
    assert_eq!(closed["spec"].get("externalTrafficPolicy"), None);
    assert_eq!(closed["spec"].get("healthCheckNodePort"), None);
}

#[tokio::test]
async fn a_replace_keeps_the_address_or_creates() {
    let kit = Kit::new().await;
    let made = make(&kit, "a", json!({"selector": {"a": "b"}, "ports": [{"port": 80}]})).await;
    let body = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 99}]}});
    let replaced = kit.put(&kit.path("services/a"), body).await.ok();
    assert_eq!(replaced["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert_eq!(replaced["spec"].get("selector"), None);
    let body = json!({"metadata": {"name": "b"}, "spec": {"ports": [{"port": 99}]}});
    assert_eq!(kit.put(&kit.path("services/b"), body).await.code, 201);
}

#[tokio::test]
async fn what_a_service_ignores_is_warned_of() {
    let kit = Kit::new().await;
    let object = json!({"metadata": {"name": "a"}, "spec": {
        "clusterIP": "None", "sessionAffinity": "ClientIP", "externalIPs": ["010.2.3.4"],
        "loadBalancerIP": "1.2.3.4", "externalName": "foo", "ports": [{"port": 80}],
    }});
    let answer = kit.post(&kit.path("services"), object).await;
    let warnings = answer.headers.get_all("warning").into_iter();
    let warnings: Vec<_> = warnings.map(|one| one.to_str().unwrap().to_owned()).collect();
    assert_eq!(
        warnings,
        [
            r#"299 - "spec.loadBalancerIP is ignored for headless services""#,
            r#"299 - "spec.externalIPs is ignored for headless services""#,
            r#"299 - "spec.SessionAffinity is ignored for headless services""#,
            r#"299 - "spec.externalIPs[0]: non-standard IP address \"010.2.3.4\" will be considered invalid in a future Kubernetes release: use \"10.2.3.4\"""#,
            r#"299 - "spec.externalName is ignored when spec.type is not \"ExternalName\"""#,
        ]
    );
}

fn job(name: &str, spec: Value) -> Value {
    let mut job = json!({"metadata": {"name": name}, "spec": {"suspend": true, "template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}],
    }}}});
    json_patch::merge(&mut job, &json!({"spec": spec}));
    job
}

#[tokio::test]
async fn a_job_selects_its_own_pods() {
    let kit = Kit::new().await;
    let path = kit.group_path("batch/v1", "jobs");
    let made = kit.post(&path, job("a", json!({}))).await.ok();
    let uid = text(&made["metadata"]["uid"]);
    let own = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    assert_eq!(made["spec"]["selector"], own);
    let labels = json!({
        "job-name": "a", "batch.kubernetes.io/job-name": "a",
        "controller-uid": uid, "batch.kubernetes.io/controller-uid": uid,
    });
    assert_eq!(made["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(made["metadata"]["labels"], labels);
    let template = json!({"metadata": {"labels": {"x": "y"}}});
    kit.post(&path, job("labelled", json!({"template": template}))).await.ok();
    let mut both = job("both", json!({"template": template}));
    both["metadata"]["labels"] = json!({"own": "label"});
    let both = kit.post(&path, both).await.ok();
    assert_eq!(both["metadata"]["labels"], json!({"own": "label"}));
    let by_hand = json!({
        "manualSelector": true, "selector": {"matchLabels": {"x": "y"}}, "template": template,
    });
    kit.post(&path, job("by-hand", by_hand)).await.ok();
}

#[rstest]
#[case::another_name(json!({"template": {"metadata": {"labels": {"job-name": "x"}}}}), "spec.template.metadata.labels[job-name]", "must be 'a'")]
#[case::another_selector(json!({"selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels": {"x": "y"}}}}), "spec.selector", "`selector` not auto-generated")]
#[case::none_by_hand(json!({"manualSelector": true}), "spec.selector", "Required value")]
#[tokio::test]
async fn selectors_of_jobs_that_are_refused(
    #[case] spec: Value,
    #[case] field: &str,
    #[case] message: &str,
) {
    let kit = Kit::new().await;
    let answer = kit.post(&kit.group_path("batch/v1", "jobs"), job("a", spec)).await;
    assert_eq!(answer.failure().0, 422);
    let causes = answer.details()["causes"].clone();
    let about =
        |cause: &Value| cause["field"] == field && text(&cause["message"]).ends_with(message);
    assert!(causes.as_array().unwrap().iter().any(about), "{causes}");
}

#[rstest]
#[case::completions(json!({"completions": 2}))]
#[case::selector(json!({"selector": {"matchLabels": {"x": "y"}}}))]
#[case::template(json!({"template": {"spec": {"terminationGracePeriodSeconds": 5}}}))]
#[tokio::test]
async fn what_of_a_job_cannot_change(#[case] change: Value) {
    let kit = Kit::new().await;
    let path = kit.group_path("batch/v1", "jobs");
    kit.post(&path, job("a", json!({}))).await.ok();
    let answer = kit.merge(&format!("{path}/a"), json!({"spec": change})).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 422);
    assert!(message.contains("field is immutable"), "{message}");
}
