//! The routes of a workspace: from a gateway's connect paths to the ports of its Service.

use std::collections::BTreeMap;

use cluster::apply::Wanted;
use serde_json::{Map, Value, json};

use super::{Objects, put};
use crate::{
    controller::routes::{self, GatewayApi, Istio, ROUTE_FIELDS},
    decide::template::Template,
    model::{HttpProxy, KindPort, PortProtocol, RequestHeaders},
};

/// One port that requests are led to.
struct Target<'a> {
    path: String,
    port: i32,
    proxy: Option<&'a HttpProxy>,
}

impl Target<'_> {
    fn removes_prefix(&self) -> bool {
        self.proxy.is_some_and(|proxy| proxy.remove_path_prefix)
    }

    fn headers(&self) -> Option<&RequestHeaders> {
        self.proxy?.request_headers.as_ref()
    }
}

impl Objects<'_> {
    /// Whether there is a port that requests can be led to.
    pub(in crate::controller) fn has_routes(&self) -> bool {
        !self.targets().is_empty()
    }

    /// The ports of the image that the kind knows and that speak HTTP, in the image's order.
    fn targets(&self) -> Vec<Target<'_>> {
        let known = &self.kind.spec.pod_template.ports;
        let ports = self.options.image.current.spec.ports.iter();
        let targets = ports.filter_map(|port| {
            let find = |known: &&KindPort| known.id == port.id;
            let known = known.iter().find(find)?;
            let PortProtocol::Http = known.protocol;
            let proxy = known.http_proxy.as_ref();
            Some(Target { path: self.path_prefix(&port.id), port: port.port, proxy })
        });
        targets.collect()
    }

    /// The `VirtualService` of that name, leading to that Service.
    pub(in crate::controller) fn virtual_service(
        &self,
        name: &str,
        service: &str,
        istio: &Istio,
    ) -> Result<Wanted, String> {
        let host = format!("{service}.{}.svc.{}", self.namespace(), istio.cluster_domain);
        let mut http = Vec::new();
        for target in self.targets() {
            let mut route = Map::new();
            put(&mut route, "match", json!([{"uri": {"prefix": target.path}}]));
            if target.removes_prefix() {
                put(&mut route, "rewrite", json!({"uri": "/"}));
            }
            if let Some(headers) = target.headers() {
                let mut request = Map::new();
                put(&mut request, "set", json!(self.rendered(&headers.set)?));
                put(&mut request, "add", json!(self.rendered(&headers.add)?));
                put(&mut request, "remove", json!(headers.remove));
                if !request.is_empty() {
                    put(&mut route, "headers", json!({"request": request}));
                }
            }
            let destination = json!({"host": host, "port": {"number": target.port}});
            put(&mut route, "route", json!([{"destination": destination}]));
            http.push(Value::Object(route));
        }
        let resource = routes::virtual_services();
        let value = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": self.metadata(name),
            "spec": {"gateways": [istio.gateway], "hosts": istio.hosts, "http": http},
        });
        Ok(Wanted::new(resource, value, ROUTE_FIELDS))
    }

    /// The `HTTPRoute` of that name, leading to that Service.
    pub(in crate::controller) fn http_route(
        &self,
        name: &str,
        service: &str,
        gateway: &GatewayApi,
    ) -> Result<Wanted, String> {
        let mut rules = Vec::new();
        for target in self.targets() {
            let mut rule = Map::new();
            let path = json!({"type": "PathPrefix", "value": target.path});
            put(&mut rule, "matches", json!([{"path": path}]));
            put(&mut rule, "filters", self.filters(&target)?);
            let backend = json!({"kind": "Service", "name": service, "port": target.port});
            put(&mut rule, "backendRefs", json!([backend]));
            rules.push(Value::Object(rule));
        }
        let mut spec = Map::new();
        let (namespace, gateway_name) =
            gateway.gateway.split_once('/').unwrap_or(("", &gateway.gateway));
        let mut parent = Map::new();
        put(&mut parent, "group", "gateway.networking.k8s.io");
        put(&mut parent, "kind", "Gateway");
        put(&mut parent, "name", gateway_name);
        if !namespace.is_empty() {
            put(&mut parent, "namespace", namespace);
        }
        put(&mut spec, "parentRefs", json!([parent]));
        // There is no word for all of them but silence.
        if !gateway.hosts.iter().any(|host| host == "*") {
            put(&mut spec, "hostnames", json!(gateway.hosts));
        }
        put(&mut spec, "rules", rules);
        let resource = routes::http_routes();
        let value = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": self.metadata(name),
            "spec": spec,
        });
        Ok(Wanted::new(resource, value, ROUTE_FIELDS))
    }

    fn filters(&self, target: &Target<'_>) -> Result<Vec<Value>, String> {
        let mut filters = Vec::new();
        if target.removes_prefix() {
            let path = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"});
            filters.push(json!({"type": "URLRewrite", "urlRewrite": {"path": path}}));
        }
        let Some(headers) = target.headers() else { return Ok(filters) };
        let list = |headers: &BTreeMap<String, String>| -> Result<Vec<Value>, String> {
            let rendered = self.rendered(headers)?.into_iter();
            Ok(rendered.map(|(name, value)| json!({"name": name, "value": value})).collect())
        };
        let mut modifier = Map::new();
        put(&mut modifier, "set", list(&headers.set)?);
        put(&mut modifier, "add", list(&headers.add)?);
        put(&mut modifier, "remove", json!(headers.remove));
        if !modifier.is_empty() {
            filters.push(json!({
                "type": "RequestHeaderModifier", "requestHeaderModifier": modifier,
            }));
        }
        Ok(filters)
    }

    fn rendered(
        &self,
        headers: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, String> {
        let render = |(name, source): (&String, &String)| {
            let template = Template::parse(source)
                .map_err(|error| format!("request header {name:?}: {error}"))?;
            Ok((name.clone(), template.render(|port| self.path_prefix(port))))
        };
        headers.iter().map(render).collect()
    }
}
