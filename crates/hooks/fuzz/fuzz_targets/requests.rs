//! Bodies beyond the samples, for what the sources read besides: the sources, the event, the body.

use http::{HeaderMap, HeaderValue};

/// The header of notifications whose signature is in the body.
pub(crate) fn sns() -> HeaderMap {
    [(
        http::HeaderName::from_static("x-amz-sns-message-type"),
        HeaderValue::from_static("Notification"),
    )]
    .into_iter()
    .collect()
}

const GITHUB: &[&str] = &["GitHub"];
const FORGES: &[&str] = &["GitHub", "Gitea", "Forgejo", "Gogs"];
const IMAGES: &[&str] = &["Harbor", "HarborCloudEvents"];
const CLOUD: &[&str] = &["CDEvents", "CloudEvents", "HarborCloudEvents"];
const RAW: &[&str] = &["Generic", "GenericHMAC", "GenericOIDC", "StandardWebhooks", "SNS"];
const S3: &[&str] = &["S3", "MinIO", "CephRGW"];

/// All of them; an empty event is the usual one.
pub(crate) const ALL: &[(&[&str], &str, &str)] = &[
    (GITHUB, "ping", r#"{"zen":"a","hook_id":1,"hook":{"type":"Repository"}}"#),
    (GITHUB, "star", r#"{"action":"created"}"#),
    (
        FORGES,
        "push",
        r#"{"ref":"refs/tags/v1","before":"00","after":"0000","deleted":true,"commits":[{"added":["a"],"removed":["b/c"],"modified":["d"]},{"modified":null}],"total_commits":9,"repository":{"full_name":"a/b","ssh_url":"git@a:b.git","clone_url":"https://a/b.git"}}"#,
    ),
    (FORGES, "create", r#"{"ref":"v1","ref_type":"tag","repository":{"ssh_url":"git@a:b"}}"#),
    (FORGES, "delete", r#"{"ref":"x","ref_type":"branch","repository":{"ssh_url":"git@a:b"}}"#),
    (
        &["GitLab"],
        "Tag Push Hook",
        r#"{"event_name":"tag_push","ref":"refs/tags/v1","before":"1","after":"0000","total_commits_count":30,"commits":[{"added":["a"],"modified":["b"],"removed":[]}],"project":{"git_ssh_url":"git@a:b","git_http_url":"https://a/b","path_with_namespace":"a/b"}}"#,
    ),
    (&["GitLab"], "System Hook", r#"{"event_name":"user_create","ref":"a","project":{}}"#),
    (
        &["BitbucketCloud"],
        "repo:push",
        r#"{"push":{"changes":[{"new":null},{"new":{"name":"v1","type":"tag","target":{"hash":"1"}}},{"new":{"name":"a/b","type":"branch"}}]},"repository":{"full_name":"a/b"}}"#,
    ),
    (
        &["BitbucketServer"],
        "repo:refs_changed",
        r#"{"changes":[{"ref":{"id":"refs/heads/a","type":"BRANCH"},"fromHash":"1","toHash":"0","type":"DELETE"},{"ref":{"id":"refs/heads/a","type":"BRANCH"}},{"ref":{"id":"refs/tags/b","type":"TAG"}}],"repository":{"slug":"b","project":{"key":"A"},"links":{"clone":[{"name":"http","href":"https://a/b"},{"name":"ssh","href":"ssh://git@a/b"}]}}}"#,
    ),
    (&["BitbucketServer"], "diagnostics:ping", r#"{"test":true}"#),
    (&["DockerHub"], "", r#"{"repository":{"repo_name":"a/b"},"push_data":{"tag":null}}"#),
    (
        &["GoogleContainerRegistry"],
        "",
        r#"{"message":{"data":"eyJhY3Rpb24iOiJJTlNFUlQiLCJkaWdlc3QiOiJnY3IuaW8vYS9iQHNoYTI1NjowMCJ9","message_id":"1","publishTime":"2025-01-01T00:00:00Z"}}"#,
    ),
    (&["GoogleContainerRegistry"], "", r#"{"message":{"data":"eyJhY3Rpb24iOiJERUxFVEUifQ=="}}"#),
    (
        IMAGES,
        "",
        r#"{"specversion":"1.0","id":"1","source":"/a","type":"pushImage","event_data":{"resources":[{"resource_url":"a.io/b/c:1","digest":"sha256:00"},{"resource_url":"a.io/b/c:2"},{"resource_url":"!"}]},"data":{"resources":[{"resource_url":"a.io/b/c:1"}]}}"#,
    ),
    (
        &["Nexus"],
        "",
        r#"{"action":"UPDATED","component":{"format":"docker","name":"a/b","version":"1"}}"#,
    ),
    (&["Nexus"], "", r#"{"action":"CREATED","component":{"format":"maven2","name":"a"}}"#),
    (
        &["AzureDevOps"],
        "",
        r#"{"eventType":"git.push","subscriptionId":"1","id":"2","resource":{"refUpdates":[{"name":"refs/heads/a","oldObjectId":"1","newObjectId":"0000"},{"name":"refs/tags/v"}],"repository":{"remoteUrl":"https://me@dev.azure.com/o/p/_git/r","name":"r"}}}"#,
    ),
    (&["AzureDevOps"], "", r#"{"eventType":"build.complete"}"#),
    (
        &["ACR"],
        "",
        r#"{"id":"1","action":"chart_push","target":{"mediaType":"a/b","repository":"a","digest":"sha256:1","tag":"1"},"request":{"host":"a.azurecr.io"}}"#,
    ),
    (&["ACR"], "", r#"{"action":"ping"}"#),
    (
        &["ECR"],
        "",
        r#"{"id":"1","source":"aws.ecr","detail-type":"ECR Image Action","account":"1","region":"cn-north-1","detail":{"action-type":"PUSH","result":"SUCCESS","repository-name":"a","image-digest":"sha256:1","image-tag":null}}"#,
    ),
    (
        &["GHCR"],
        "registry_package",
        r#"{"action":"updated","registry_package":{"package_type":"CONTAINER","package_version":{"package_url":"ghcr.io/a/b:","container_metadata":{"tag":{"name":"v1","digest":"sha256:1"}}}}}"#,
    ),
    (
        &["Artifactory"],
        "",
        r#"{"domain":"docker","event_type":"pushed","jpd_origin":"a.jfrog.io","virtualRepo":"v","data":{"repo_key":"r","image_name":"i","tag":"1"}}"#,
    ),
    (
        CLOUD,
        "dev.cdevents.artifact.packaged",
        r#"{"specversion":"1.0","id":"1","source":"/a","type":"dev.cdevents.artifact.published.0.1.0","subject":{"id":"pkg:docker/b@sha256%3A00?repository_url=a.io%2Fb&tag=1"},"data":{"subject":{"id":"pkg:oci/a@sha256:00"}}}"#,
    ),
    (
        CLOUD,
        "dev.cdevents.change.merged.0.2.0",
        r#"{"subject":{"id":"1","content":{"repository":{"id":"a/b","url":"https://a/b"}}}}"#,
    ),
    (RAW, "", r#"{"type":"a.b","data":{"a":[1,2.5,null,true,"\u00e9"]}}"#),
    (
        &["SNS"],
        "",
        r#"{"Type":"Notification","MessageId":"1","TopicArn":"arn","Subject":"a","Message":"{\"Records\":[{\"eventName\":\"ObjectCreated:Put\",\"s3\":{\"bucket\":{\"name\":\"a\"},\"object\":{\"key\":\"b%2Fc+d\"}}}]}","Timestamp":"1970-01-01T00:16:40Z","SignatureVersion":"1","Signature":"AA==","SigningCertURL":"https://sns.eu-west-1.amazonaws.com/a.pem"}"#,
    ),
    (
        &["SNS"],
        "",
        r#"{"Type":"Notification","TopicArn":"arn","Message":"{\"source\":\"aws.ecr\",\"detail-type\":\"ECR Image Action\",\"account\":\"1\",\"region\":\"eu-west-1\",\"detail\":{\"action-type\":\"PUSH\",\"result\":\"SUCCESS\",\"repository-name\":\"a\"}}"}"#,
    ),
    (&["SNS"], "", r#"{"Type":"Notification","Message":"{\"Event\":\"s3:TestEvent\"}"}"#),
    (
        &["SNS"],
        "",
        r#"{"Type":"SubscriptionConfirmation","Token":"a","SubscribeURL":"https://a/"}"#,
    ),
    (
        S3,
        "",
        r#"{"Records":[{"eventName":"s3:ObjectRemoved:Delete","eventTime":"2025-01-01T00:00:00Z","s3":{"bucket":{"name":"a"},"object":{"key":"b%2Fc+d%C3%A9","size":"5","eTag":"e","versionId":"v","sequencer":"1"}}},{"eventName":"ObjectLifecycle:Expire","s3":{"bucket":{"name":"a"},"object":{"key":"b","size":5}}},{"eventName":"x"}]}"#,
    ),
    (S3, "", r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#),
    (
        &["Alertmanager"],
        "",
        r#"{"version":"4","status":"resolved","groupKey":"{}:{a=\"b\"}","alerts":[{"status":"resolved","labels":{"a":"b"},"annotations":{"c":"d"},"startsAt":"2025-01-01T00:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://a","fingerprint":"f"},null,7]}"#,
    ),
];
