use super::*;

async fn keys(store: &dyn Store, prefix: &str, after: Option<&str>, max: usize) -> Vec<String> {
    store.list(prefix, after, max).await.unwrap().into_iter().map(|o| o.key).collect()
}

#[tokio::test]
async fn a_folder_keeps_what_is_put_and_lists_it_in_byte_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Folder::open(dir.path().join("lake")).unwrap();
    assert_eq!(store.get("a/b").await.unwrap(), None);
    for key in ["a/b", "a-b", "a/b/c".replace("b/", "d/").as_str(), "a.b", "z"] {
        store.put(key, Bytes::from(key.to_owned())).await.unwrap();
    }
    // `-` and `.` come before `/`, as S3 has it.
    assert_eq!(keys(&store, "", None, 10).await, ["a-b", "a.b", "a/b", "a/d/c", "z"]);
    assert_eq!(keys(&store, "a/", None, 10).await, ["a/b", "a/d/c"]);
    assert_eq!(keys(&store, "", Some("a.b"), 2).await, ["a/b", "a/d/c"]);
    assert_eq!(keys(&store, "a/", Some("a/b"), 10).await, ["a/d/c"]);
    assert_eq!(keys(&store, "nothing/", None, 10).await, [""; 0]);
    assert_eq!(store.get_range("a/d/c", 2..4).await.unwrap().unwrap(), "d/");
    assert_eq!(store.head("a/d/c").await.unwrap(), Some(5));
    store.delete("a/d/c").await.unwrap();
    store.delete("a/d/c").await.unwrap();
    assert_eq!(store.head("a/d/c").await.unwrap(), None);
}

#[tokio::test]
async fn of_many_conditional_puts_at_once_one_wins_and_its_bytes_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Folder::open(dir.path()).unwrap());
    for round in 0..20 {
        let key = format!("claims/{round}");
        let puts: Vec<_> = (0..8u8)
            .map(|me| {
                let (store, key) = (store.clone(), key.clone());
                tokio::spawn(
                    async move { store.put_if_absent(&key, Bytes::from(vec![me; 4096])).await.unwrap() },
                )
            })
            .collect();
        let mut winners = Vec::new();
        for (me, put) in puts.into_iter().enumerate() {
            if put.await.unwrap() == Put::Created {
                winners.push(me as u8);
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(store.get(&key).await.unwrap().unwrap(), vec![winners[0]; 4096]);
    }
}

#[tokio::test]
async fn keys_that_would_leave_the_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Folder::open(dir.path()).unwrap();
    for key in ["", "/etc/passwd", "../a", "a/../b", "a//b", ".tmp/x", "a\\b"] {
        assert!(matches!(store.put(key, Bytes::new()).await, Err(StoreError::Refused { .. })), "{key:?}");
    }
}
