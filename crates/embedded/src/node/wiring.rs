//! Which change of which object makes which part of the node look at what.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Change, Key, key_of};
use super::claims::{Claims, claims_of};
use super::container::Tools;
use super::endpoints::Endpoints;
use super::events::Recorder;
use super::job::Jobs;
use super::owners::controller_key;
use super::pods::Pods;
use super::queue::{Queue, work};
use super::runtime::LocalProcesses;
use super::scheduler::Scheduler;
use super::statefulset::StatefulSets;
use super::{NodeOptions, machine};

/// What is known.
struct Caches {
    pods: Arc<Cache<Pod>>,
    sets: Arc<Cache<StatefulSet>>,
    jobs: Arc<Cache<Job>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
    volumes: Arc<Cache<PersistentVolume>>,
    classes: Arc<Cache<StorageClass>>,
    services: Arc<Cache<Service>>,
    slices: Arc<Cache<EndpointSlice>>,
}

/// What must be looked at.
#[derive(Clone)]
struct Queues {
    scheduler: Arc<Queue>,
    pods: Arc<Queue>,
    sets: Arc<Queue>,
    jobs: Arc<Queue>,
    claims: Arc<Queue>,
    volumes: Arc<Queue>,
    services: Arc<Queue>,
}

/// The parts of the node, wired together.
pub(crate) struct Wiring {
    caches: Caches,
    queues: Queues,
    pub(crate) pods: Arc<Pods>,
    scheduler: Arc<Scheduler>,
    sets: Arc<StatefulSets>,
    jobs: Arc<Jobs>,
    claims: Arc<Claims>,
    endpoints: Arc<Endpoints>,
}

impl Wiring {
    /// Makes the parts, and starts to watch.
    pub(crate) fn new(client: Client, options: &NodeOptions, tasks: &mut JoinSet<()>) -> Self {
        let caches = Caches {
            pods: Cache::new(),
            sets: Cache::stripped(|set| (set.spec, set.status) = (None, None)),
            jobs: Cache::stripped(|job| (job.spec, job.status) = (None, None)),
            claims: Cache::new(),
            volumes: Cache::new(),
            classes: Cache::new(),
            services: Cache::new(),
            slices: Cache::new(),
        };
        let queues = Queues {
            scheduler: Queue::new(),
            pods: Queue::new(),
            sets: Queue::new(),
            jobs: Queue::new(),
            claims: Queue::new(),
            volumes: Queue::new(),
            services: Queue::new(),
        };
        let (recorder, write) = Recorder::new(client.clone(), "kubelet", options.name.clone());
        tasks.spawn(write);
        let tools = Tools {
            runtime: Arc::new(LocalProcesses::new(options.shim.clone())),
            images: options.images.clone(),
            search_path: options.search_path.clone(),
            backoff: options.backoff,
            recorder: recorder.clone(),
            queue: Arc::clone(&queues.pods),
            data_dir: options.data_dir.clone(),
        };
        let pods = Pods::new(
            client.clone(),
            options.name.clone(),
            options.data_dir.join("pods"),
            tools,
            Arc::clone(&caches.pods),
        );
        let wiring = Self {
            pods: Arc::new(pods),
            scheduler: Arc::new(Scheduler {
                client: client.clone(),
                node: options.name.clone(),
                labels: machine::labels(&options.name),
                pods: Arc::clone(&caches.pods),
                claims: Arc::clone(&caches.claims),
                recorder: recorder.of("default-scheduler"),
            }),
            sets: Arc::new(StatefulSets {
                client: client.clone(),
                pods: Arc::clone(&caches.pods),
                claims: Arc::clone(&caches.claims),
                recorder: recorder.of("statefulset-controller"),
            }),
            jobs: Arc::new(Jobs {
                client: client.clone(),
                pods: Arc::clone(&caches.pods),
                recorder: recorder.of("job-controller"),
            }),
            claims: Arc::new(Claims {
                client: client.clone(),
                directory: options.data_dir.join("volumes"),
                claims: Arc::clone(&caches.claims),
                volumes: Arc::clone(&caches.volumes),
                classes: Arc::clone(&caches.classes),
                pods: Arc::clone(&caches.pods),
                recorder: recorder.of("persistentvolume-controller"),
            }),
            endpoints: Arc::new(Endpoints {
                client: client.clone(),
                services: Arc::clone(&caches.services),
                pods: Arc::clone(&caches.pods),
                slices: Arc::clone(&caches.slices),
            }),
            caches,
            queues,
        };
        wiring.watch_pods(&client, tasks);
        wiring.watch_storage(&client, tasks);
        wiring.watch_the_rest(&client, tasks);
        wiring
    }

    /// Waits until everything there is is known.
    pub(crate) async fn ready(&self) {
        let caches = &self.caches;
        futures::join!(
            caches.pods.ready(),
            caches.sets.ready(),
            caches.jobs.ready(),
            caches.claims.ready(),
            caches.volumes.ready(),
            caches.classes.ready(),
            caches.services.ready(),
            caches.slices.ready(),
        );
    }

    fn watch_pods(&self, client: &Client, tasks: &mut JoinSet<()>) {
        let (queues, pods, endpoints) =
            (self.queues.clone(), Arc::clone(&self.pods), Arc::clone(&self.endpoints));
        let cache = Arc::clone(&self.caches.pods);
        tasks.spawn(cache.run(client.clone(), move |change| {
            let Some(pod) = change.states().last() else { return };
            queues.scheduler.add(key_of(pod.as_ref()));
            if change.states().any(|pod| pods.is_ours(pod)) {
                queues.pods.add(key_of(pod.as_ref()));
            }
            if let Some(set) = controller_key::<StatefulSet>(&pod.metadata) {
                queues.sets.add(set);
            }
            if let Some(job) = controller_key::<Job>(&pod.metadata) {
                queues.jobs.add(job);
            }
            for state in change.states() {
                for service in endpoints.services_of(state) {
                    queues.services.add(service);
                }
            }
            let namespace = key_of(pod.as_ref()).0;
            for claim in claims_of(pod) {
                queues.claims.add((namespace.clone(), claim.to_owned()));
            }
        }));
    }

    fn watch_storage(&self, client: &Client, tasks: &mut JoinSet<()>) {
        let (queues, pods) = (self.queues.clone(), Arc::clone(&self.caches.pods));
        let cache = Arc::clone(&self.caches.claims);
        tasks.spawn(cache.run(client.clone(), move |change| {
            let Some(claim) = change.states().last() else { return };
            let key = key_of(claim.as_ref());
            if let Some(volume) = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()) {
                queues.volumes.add((String::new(), volume));
            }
            // Pods that wait for the claim.
            for pod in pods.in_namespace(&key.0) {
                if claims_of(&pod).any(|name| name == key.1) {
                    queues.scheduler.add(key_of(pod.as_ref()));
                    queues.pods.add(key_of(pod.as_ref()));
                }
            }
            queues.claims.add(key);
        }));
        let queues = self.queues.clone();
        let cache = Arc::clone(&self.caches.volumes);
        tasks.spawn(cache.run(client.clone(), move |change: Change<'_, PersistentVolume>| {
            let Some(volume) = change.states().last() else { return };
            queues.volumes.add(key_of(volume.as_ref()));
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let claim = reference.and_then(|reference| {
                Some((reference.namespace.clone()?, reference.name.clone()?))
            });
            if let Some(claim) = claim {
                queues.claims.add(claim);
            }
        }));
        let (queue, claims) = (Arc::clone(&self.queues.claims), Arc::clone(&self.caches.claims));
        let cache = Arc::clone(&self.caches.classes);
        tasks.spawn(cache.run(client.clone(), move |_| {
            // Claims that no class could serve may be served now.
            for claim in claims.all() {
                if claim.spec.as_ref().is_some_and(|spec| spec.volume_name.is_none()) {
                    queue.add(key_of(claim.as_ref()));
                }
            }
        }));
    }

    fn watch_the_rest(&self, client: &Client, tasks: &mut JoinSet<()>) {
        let add = |queue: &Arc<Queue>, key: fn(&EndpointSlice) -> Option<Key>| {
            let queue = Arc::clone(queue);
            move |change: Change<'_, EndpointSlice>| {
                change.states().filter_map(|slice| key(slice)).for_each(|key| queue.add(key));
            }
        };
        let slices = add(&self.queues.services, |slice| controller_key::<Service>(&slice.metadata));
        tasks.spawn(Arc::clone(&self.caches.slices).run(client.clone(), slices));
        tasks.spawn(
            Arc::clone(&self.caches.services).run(client.clone(), adds(&self.queues.services)),
        );
        tasks.spawn(Arc::clone(&self.caches.sets).run(client.clone(), adds(&self.queues.sets)));
        tasks.spawn(Arc::clone(&self.caches.jobs).run(client.clone(), adds(&self.queues.jobs)));
    }

    /// Starts to work.
    pub(crate) fn work(self, workers: &mut JoinSet<()>, stop: &CancellationToken) {
        let queues = self.queues;
        let stop = || stop.clone();
        let part = self.scheduler;
        workers.spawn(work(queues.scheduler, "scheduling a pod", stop(), move |key| {
            let part = Arc::clone(&part);
            async move { part.look(key).await }
        }));
        let part = self.pods;
        workers.spawn(work(queues.pods, "running a pod", stop(), move |key| {
            let part = Arc::clone(&part);
            async move { part.look(key).await }
        }));
        let part = self.sets;
        workers.spawn(work(queues.sets, "keeping a StatefulSet", stop(), move |key| {
            let part = Arc::clone(&part);
            async move { part.look(key).await }
        }));
        let part = self.jobs;
        workers.spawn(work(queues.jobs, "running a Job", stop(), move |key| {
            let part = Arc::clone(&part);
            async move { part.look(key).await }
        }));
        let part = self.endpoints;
        workers.spawn(work(queues.services, "keeping a Service", stop(), move |key| {
            let part = Arc::clone(&part);
            async move { part.look(key).await }
        }));
        let (claims, volumes) = (Arc::clone(&self.claims), self.claims);
        workers.spawn(work(queues.claims, "binding a claim", stop(), move |key| {
            let part = Arc::clone(&claims);
            async move { part.look(key).await }
        }));
        workers.spawn(work(queues.volumes, "keeping a volume", stop(), move |key| {
            let part = Arc::clone(&volumes);
            async move { part.look_at_volume(key).await }
        }));
    }
}

fn adds<K: kube::Resource>(queue: &Arc<Queue>) -> impl Fn(Change<'_, K>) + Send + use<K> {
    let queue = Arc::clone(queue);
    move |change| {
        if let Some(object) = change.states().last() {
            queue.add(key_of(object.as_ref()));
        }
    }
}
