use std::io::Read;

use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use super::{block::BLOCK, *};

fn key(namespace: &str, name: &str) -> Key {
    Key::new(Some(namespace), name)
}

fn row(text: impl Into<String>) -> Row<u32> {
    Row { bytes: Bytes::from(text.into()), object: 0 }
}

fn item(namespace: &str, name: &str, text: &str) -> (Key, Option<Row<u32>>) {
    (key(namespace, name), Some(row(text)))
}

async fn text(list: List) -> String {
    String::from_utf8(body(list, "identity").await.to_vec()).unwrap()
}

async fn body(list: List, encoding: &str) -> Bytes {
    let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, encoding.parse().unwrap())]);
    let response = list.respond(&headers).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes()
}

/// The same list in all three forms.
async fn all_forms(list: impl Fn() -> List) -> Bytes {
    let plain = body(list(), "identity").await;
    let mut unpacked = Vec::new();
    // One member only, as browsers read it.
    flate2::read::GzDecoder::new(&body(list(), "gzip").await[..])
        .read_to_end(&mut unpacked)
        .unwrap_or_default();
    if plain.len() >= 1024 {
        assert!(unpacked == plain, "gzip differs");
        assert!(
            zstd::decode_all(&body(list(), "zstd").await[..]).unwrap() == plain,
            "zstd differs"
        );
    }
    plain
}

#[tokio::test]
async fn empty_lists_are_lists() {
    let cache = ListCache::<u32>::new(1);
    assert_eq!(text(cache.all()).await, r#"{"data":[]}"#);
    assert_eq!(text(cache.namespace("a")).await, r#"{"data":[]}"#);
}

#[tokio::test]
async fn namespaces_are_parts_of_the_whole() {
    let cache = ListCache::<u32>::new(1);
    cache.apply([item("b", "x", "3"), item("a", "y", "2"), item("a", "x", "1")].into());
    assert_eq!(text(cache.all()).await, r#"{"data":[1,2,3]}"#);
    assert_eq!(text(cache.namespace("a")).await, r#"{"data":[1,2]}"#);
    assert_eq!(text(cache.namespace("b")).await, r#"{"data":[3]}"#);
    cache.apply([(key("a", "x"), None), item("b", "x", "4")].into());
    assert_eq!(text(cache.all()).await, r#"{"data":[2,4]}"#);
    cache.apply([(key("a", "y"), None)].into());
    assert_eq!(text(cache.namespace("a")).await, r#"{"data":[]}"#);
    assert_eq!(text(cache.all()).await, r#"{"data":[4]}"#);
}

#[tokio::test]
async fn a_version_is_sent_once_and_others_keep_theirs() {
    let cache = ListCache::<u32>::new(1);
    cache.apply([item("a", "x", "1"), item("b", "x", "2")].into());
    let known =
        |list: &List| HeaderMap::from_iter([(header::IF_NONE_MATCH, list.tag().parse().unwrap())]);
    let headers = known(&cache.namespace("a"));
    cache.apply([item("b", "x", "3")].into());
    let status = cache.namespace("a").respond(&headers).await.unwrap().status();
    assert_eq!(status, StatusCode::NOT_MODIFIED);
    cache.apply([item("a", "x", "4")].into());
    let status = cache.namespace("a").respond(&headers).await.unwrap().status();
    assert_eq!(status, StatusCode::OK);
}

/// Random edits against a plain map: same bytes, blocks within bounds.
#[tokio::test]
async fn blocks_hold_what_a_map_would() {
    let cache = ListCache::<u32>::new(1);
    let mut model: BTreeMap<Key, Bytes> = BTreeMap::new();
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..400 {
        let mut changed = Changed::new();
        for _ in 0..random(30) {
            let key = key(&format!("n{}", random(9)), &format!("w{}", random(200)));
            let gone = random(if round < 300 { 5 } else { 2 }) == 0;
            let size = 10 + random(4000) as usize;
            changed.insert(key, (!gone).then(|| row("x".repeat(size))));
        }
        for (key, row) in &changed {
            match row {
                Some(row) => drop(model.insert(key.clone(), row.bytes.clone())),
                None => drop(model.remove(key)),
            }
        }
        cache.apply(changed);
        if round % 40 == 0 {
            all_forms(|| cache.all()).await;
            all_forms(|| cache.namespace("n3")).await;
        }
    }
    for namespace in ["n0", "n4", "n8", "none"] {
        let expected: Vec<&[u8]> = model
            .iter()
            .filter(|(key, _)| key.namespace() == Some(namespace))
            .map(|(_, bytes)| bytes.as_ref())
            .collect();
        let expected = [br#"{"data":["#, &expected.join(&b',')[..], b"]}"].concat();
        assert_eq!(all_forms(|| cache.namespace(namespace)).await, expected);
    }
    let whole: Vec<&[u8]> = model.values().map(AsRef::as_ref).collect();
    let whole = [br#"{"data":["#, &whole.join(&b',')[..], b"]}"].concat();
    assert_eq!(all_forms(|| cache.all()).await, whole);
    let sizes: Vec<_> = cache.inner.read().blocks.iter().map(Block::size).collect();
    assert!(sizes.iter().all(|(items, bytes)| *items > 0 && *bytes < BLOCK + 8_000));
    let mut each = Vec::new();
    cache.each(Some("n4"), |key, _, _| each.push(key.clone()));
    assert_eq!(
        each,
        model.keys().filter(|k| k.namespace() == Some("n4")).cloned().collect::<Vec<_>>()
    );
    let mut walked: Vec<Key> = Vec::new();
    loop {
        let (rows, _) = cache.after(walked.last(), 7);
        if rows.is_empty() {
            break;
        }
        walked.extend(rows.into_iter().map(|(key, _)| key));
    }
    assert_eq!(walked, model.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn the_journal_tells_what_changed() {
    let cache = ListCache::<u32>::new(7);
    let start = *cache.end().borrow();
    cache.apply([item("a", "x", "1"), item("a", "y", "2")].into());
    let middle = *cache.end().borrow();
    cache.apply([item("a", "x", "3"), (key("a", "y"), None), (key("a", "z"), None)].into());
    let show = |event: &Arc<Event<u32>>| {
        let bytes = String::from_utf8(event.bytes.to_vec()).unwrap();
        (event.key.name().to_owned(), event.old.is_some(), event.new.is_some(), bytes)
    };
    let events = |from| cache.since(from, 10).unwrap().iter().map(show).collect::<Vec<_>>();
    let first = [("x".into(), false, true, "1".into()), ("y".into(), false, true, "2".into())];
    let second = [("x".into(), true, true, "3".into()), ("y".into(), true, false, "2".into())];
    assert_eq!(events(start), [first, second.clone()].concat());
    assert_eq!(events(middle), second);
    assert_eq!(cache.since(start, 1).unwrap().len(), 1);
    assert_eq!(cache.position(&cache.token(middle)), Some(middle));
    assert_eq!(ListCache::<u32>::new(8).position(&cache.token(middle)), None);
    for token in ["", "-", "7", "7-x", "7-1-1"] {
        assert_eq!(cache.position(token), None, "{token}");
    }
    assert_eq!(cache.since(u64::MAX, 1).unwrap_err(), TooOld);
    cache.replace(Changed::new());
    assert_eq!(cache.since(middle, 1).unwrap_err(), TooOld);
    assert_eq!(cache.since(*cache.end().borrow(), 1).unwrap().len(), 0);
}

#[test]
fn the_journal_is_bounded() {
    let cache = ListCache::<u32>::new(1);
    for round in 0..3_000 {
        cache.apply([item("a", "x", &round.to_string())].into());
    }
    let end = *cache.end().borrow();
    assert_eq!(cache.since(end - 2_000, 1).unwrap_err(), TooOld);
    assert_eq!(cache.since(end - 1_000, usize::MAX).unwrap().len(), 1_000);
    for _ in 0..10 {
        cache.apply([item("a", "x", &"x".repeat(1 << 20))].into());
        cache.apply([item("a", "x", "y")].into());
    }
    let end = *cache.end().borrow();
    assert_eq!(cache.since(end - 10, 1).unwrap_err(), TooOld);
}

/// Status fields that no list shows change all the time.
#[tokio::test]
async fn a_change_that_is_not_shown_makes_no_version() {
    let cache = ListCache::<u32>::new(1);
    cache.apply([item("a", "x", "1")].into());
    let (tag, any) = (cache.all().tag().to_owned(), cache.any_change());
    cache.apply([(key("a", "x"), Some(Row { object: 9, ..row("1") }))].into());
    assert_eq!(cache.all().tag(), tag);
    assert_ne!(cache.any_change(), any);
    cache.each(None, |_, object, _| assert_eq!(*object, 9));
}

/// Of a long list only what changed is compressed anew.
#[tokio::test]
async fn one_change_packs_one_block() {
    let cache = ListCache::<u32>::new(1);
    let name = |number: u32| format!("w{number:05}");
    let items = (0..4000).map(|n| item("a", &name(n), &format!("\"{n:01000}\"")));
    cache.apply(items.collect());
    body(cache.all(), "gzip").await;
    let blocks = || -> Vec<_> {
        let inner = cache.inner.read();
        inner.blocks.iter().filter_map(|block| block.whole().packed).collect()
    };
    let before = blocks();
    assert!(before.len() > 20);
    cache.apply([item("a", &name(2000), "changed")].into());
    let after = blocks();
    let is_kept = |block: &&Arc<_>| after.iter().any(|kept| Arc::ptr_eq(kept, block));
    assert_eq!(before.iter().filter(is_kept).count(), before.len() - 1);
    all_forms(|| cache.all()).await;
}
