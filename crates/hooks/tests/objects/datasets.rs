//! Events about objects mark the volumes that were filled from them.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use super::{KEY, OTHER, World};

impl World {
    fn volumes(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), "apps")
    }

    async fn volume(&self, name: &str, labels: Value, origin: &str) {
        let volume = json!({
            "metadata": {"name": name, "labels": labels,
                "annotations": {"pvci.txn2.com/origin": origin}},
            "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Mi"}}},
        });
        let volume = serde_json::from_value(volume).unwrap();
        self.volumes().create(&PostParams::default(), &volume).await.unwrap();
    }

    async fn marked(&self, name: &str) -> Option<String> {
        let volume = self.volumes().get(name).await.unwrap();
        volume.annotations().get("quartermaster.io/refresh-requested-at").cloned()
    }

    /// Waits until a volume is marked with something else than this.
    async fn marked_anew(&self, name: &str, before: Option<&str>) -> String {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(mark) = self.marked(name).await.filter(|now| Some(&**now) != before) {
                return mark;
            }
            assert!(tokio::time::Instant::now() < deadline, "{name} was not marked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends what a bucket would: keys and times.
    async fn objects(&self, bucket: &str, changes: &[(String, String)]) {
        let record = |(key, time): &(String, String)| {
            json!({"eventName": "s3:ObjectCreated:Put", "eventTime": time,
                "s3": {"bucket": {"name": bucket}, "object": {"key": key}}})
        };
        let records: Vec<Value> = changes.iter().map(record).collect();
        let body = json!({"Records": records}).to_string();
        let bearer = format!("Authorization: Bearer {KEY}\r\n");
        assert_eq!(self.post(KEY, &bearer, &body).await, 202);
    }
}

fn change(key: &str, time: &str) -> (String, String) {
    (key.to_owned(), time.to_owned())
}

#[tokio::test]
async fn volumes_are_marked_with_the_latest_time_of_their_objects() {
    let world = World::new().await;
    let ours = json!({"pvci.txn2.com/service": "pvci"});
    world.volume("tiles", ours.clone(), "store:9000/data/tiles/20").await;
    world.volume("whole", ours.clone(), "store:9000/data/").await;
    world.volume("other", ours, "store:9000/other/").await;
    world.volume("foreign", json!({}), "store:9000/data/").await;
    world.secret("bucket", KEY).await;
    let spec = json!({"source": "MinIO", "secretRef": {"name": "bucket"},
        "targets": [{"type": "dataset-refresh", "debounce": "1s"}]});
    world.hook("bucket", spec).await;
    world.until("bucket", "Serving").await;

    // The latest is neither the first nor the last, and none is told of by itself.
    let minutes = (0..20).map(|number| (number * 7) % 20);
    let changes: Vec<_> = minutes
        .map(|minute| {
            change(&format!("tiles%2F2024/{minute}"), &format!("2025-01-01T00:{minute:02}:00Z"))
        })
        .collect();
    world.objects("data", &changes).await;
    let latest = "2025-01-01T00:19:00Z";
    assert_eq!(world.marked_anew("tiles", None).await, latest);
    assert_eq!(world.marked_anew("whole", None).await, latest);

    // An older event takes nothing back; with it comes one that only the other volume has.
    let old = change("tiles/2023", "2024-01-01T00:00:00Z");
    world.objects("data", &[old, change("x", "2025-01-01T00:30:00.5Z")]).await;
    assert_eq!(world.marked_anew("whole", Some(latest)).await, "2025-01-01T00:30:00.5Z");
    assert_eq!(world.marked("tiles").await.as_deref(), Some(latest));
    for untouched in ["other", "foreign"] {
        assert_eq!(world.marked(untouched).await, None, "{untouched}");
    }
    world.end().await;
}

#[tokio::test]
async fn volumes_are_marked_by_name() {
    let world = World::new().await;
    world.volume("tiles-2024", json!({"pvci.txn2.com/service": "pvci"}), "store/data/").await;
    for (name, target) in [
        ("unknown", json!({"nameTemplate": "{dataset}"})),
        ("long", json!({"debounce": "2h"})),
        ("chosen", json!({"auto": true})),
    ] {
        let mut target = target;
        target["type"] = "dataset-refresh".into();
        world.secret(name, OTHER).await;
        let spec = json!({"source": "Generic", "insecure": true, "secretRef": {"name": name},
            "targets": [target]});
        world.hook(name, spec).await;
        world.until(name, "InvalidSpec").await;
    }
    world.secret("named", KEY).await;
    let spec = json!({"source": "Generic", "insecure": true, "secretRef": {"name": "named"},
        "targets": [{"type": "dataset-refresh", "debounce": "0s",
            "nameTemplate": "{raw/data/set}-{raw/data/year}"}]});
    world.hook("named", spec).await;
    world.until("named", "Serving").await;
    let told = json!({"data": {"set": "tiles", "year": 2024}}).to_string();
    assert_eq!(world.post(KEY, "", &told).await, 202);
    let mark = world.marked_anew("tiles-2024", None).await;
    mark.parse::<jiff::Timestamp>().unwrap();
    world.end().await;
}
