//! EndpointSlices: where the pods of a Service are.
//!
//! Nothing routes cluster addresses on this machine, so a Service gets none: who wants to reach its
//! pods reads the slice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use super::cache::{Cache, Key};
use super::events::hex;
use super::owners::{controlled_by, is_controlled_by, selects};
use super::pod_status::{is_ready, is_terminal};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const US: &str = "endpointslice-controller.k8s.io";

/// Keeps the slices of Services.
pub(crate) struct Endpoints {
    pub(crate) client: Client,
    pub(crate) services: Arc<Cache<Service>>,
    pub(crate) pods: Arc<Cache<Pod>>,
    pub(crate) slices: Arc<Cache<EndpointSlice>>,
}

impl Endpoints {
    /// The Services that a pod counts for.
    pub(crate) fn services_of(&self, pod: &Pod) -> Vec<Key> {
        let namespace = pod.namespace().unwrap_or_default();
        let services = self.services.in_namespace(&namespace).into_iter();
        services
            .filter(|service| {
                selector(service).is_some_and(|selector| selects(&selector, pod.labels()))
            })
            .map(|service| (namespace.clone(), service.name_any()))
            .collect()
    }

    /// One look at one Service.
    pub(crate) async fn look(&self, key: Key) -> Result<Option<Duration>, kube::Error> {
        // The slices of a Service that is gone go with it, by their owner references.
        let Some(service) = self.services.get(&key) else { return Ok(None) };
        let Some(selector) = selector(&service) else { return Ok(None) };
        let pods = self.pods.in_namespace(&key.0);
        let chosen = pods.iter().filter(|pod| selects(&selector, pod.labels()));
        let wanted = slices_for(&service, chosen.map(AsRef::as_ref));
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.0);
        let known = self.slices.in_namespace(&key.0);
        let ours = known.iter().filter(|slice| {
            slice.labels().get(MANAGED_BY).map(String::as_str) == Some(US)
                && is_controlled_by(&slice.metadata, service.as_ref())
        });
        let mut left: BTreeMap<_, _> = ours.map(|slice| (slice.name_any(), slice)).collect();
        for slice in wanted {
            self.write(&api, left.remove(&slice.name_any()).map(AsRef::as_ref), slice).await?;
        }
        for (name, slice) in left {
            let preconditions = Preconditions { uid: slice.uid(), resource_version: None };
            let parameters =
                DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match api.delete(&name, &parameters).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                result => drop(result?),
            }
        }
        Ok(None)
    }

    async fn write(
        &self,
        api: &Api<EndpointSlice>,
        known: Option<&EndpointSlice>,
        wanted: EndpointSlice,
    ) -> Result<(), kube::Error> {
        let written = match known {
            Some(known)
                if known.endpoints == wanted.endpoints
                    && known.ports == wanted.ports
                    && known.metadata.labels == wanted.metadata.labels =>
            {
                return Ok(());
            }
            Some(known) => {
                let mut next = wanted;
                next.metadata.resource_version = known.resource_version();
                next.metadata.uid = known.uid();
                api.replace(&next.name_any(), &PostParams::default(), &next).await?
            }
            None => api.create(&PostParams::default(), &wanted).await?,
        };
        self.slices.remember(written);
        Ok(())
    }
}

fn selector(service: &Service) -> Option<LabelSelector> {
    let spec =
        service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    let labels = spec.selector.clone().filter(|labels| !labels.is_empty())?;
    Some(LabelSelector { match_labels: Some(labels), ..LabelSelector::default() })
}

/// One slice for each set of port numbers: a named port may mean another number in each pod.
fn slices_for<'a>(service: &Service, pods: impl Iterator<Item = &'a Pod>) -> Vec<EndpointSlice> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let publish_early =
        service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let mut groups: BTreeMap<Vec<(usize, i32)>, Vec<Endpoint>> = BTreeMap::new();
    for pod in pods.filter(|pod| !is_terminal(pod)) {
        let Some(endpoint) = endpoint(pod, publish_early) else { continue };
        let numbers =
            ports.iter().enumerate().filter_map(|(index, port)| Some((index, number(port, pod)?)));
        groups.entry(numbers.collect()).or_default().push(endpoint);
    }
    if groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    groups
        .into_iter()
        .map(|(numbers, mut endpoints)| {
            endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
            let ports = numbers.iter().filter_map(|(index, number)| {
                let port = ports.get(*index)?;
                Some(EndpointPort {
                    name: Some(port.name.clone().unwrap_or_default()),
                    port: Some(*number),
                    protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                    app_protocol: port.app_protocol.clone(),
                })
            });
            let ports: Vec<_> = ports.collect();
            slice(service, &numbers, ports, endpoints)
        })
        .collect()
}

fn slice(
    service: &Service,
    numbers: &[(usize, i32)],
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let name = service.name_any();
    let key = format!("{}\n{numbers:?}", service.uid().unwrap_or_default());
    let labels = [(SERVICE_NAME, name.as_str()), (MANAGED_BY, US)];
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}", hex(key.as_bytes(), 5))),
            namespace: service.namespace(),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: Some(controlled_by(service)),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints,
        ports: (!ports.is_empty()).then_some(ports),
    }
}

fn endpoint(pod: &Pod, publish_early: bool) -> Option<Endpoint> {
    let address = pod.status.as_ref()?.pod_ip.clone()?;
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let serving = is_ready(pod);
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publish_early || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(pod.name_any()),
            namespace: pod.namespace(),
            uid: pod.uid(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

fn number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports.find(|known| known.name.as_ref() == Some(name)).map(|known| known.container_port)
        }
    }
}
