//! Replays that an api asks for.

use std::time::Duration;

use jetline_store::objects::ReplayRequest;

use crate::scene::{BUCKET, Scene, ended, lines, until};

#[tokio::test]
async fn watching_fetcher_makes_the_replay_that_is_asked_for_and_answers() {
    let mut scene = Scene::new(1 << 20).await;
    scene.settings.watch = Some(Duration::from_hours(1));
    scene.s3.put(BUCKET, "a.jsonl", lines(10));
    scene.spawn_writer();
    let fetcher = scene.spawn_fetcher().await;
    until(&scene, "SELECT COUNT(*) FROM objects WHERE state = 'done'").await;

    let ledger = &scene.ledger.objects;
    for (id, object_id, dry_run, words) in [
        (7, 1, true, Ok("a.jsonl")),
        (8, 9, false, Err("there is no object 9")),
        (9, 1, false, Ok("a.jsonl")),
    ] {
        let request = ReplayRequest { id, object_id, dry_run };
        ledger.request_replay(&request, Duration::from_mins(1)).await.unwrap();
        let answered =
            format!("SELECT COUNT(*) FROM replay_requests WHERE id = {id} AND answer IS NOT NULL");
        until(&scene, &answered).await;
        let answer = ledger.replay_answer(id).await.unwrap().unwrap();
        assert_eq!(answer.is_ok(), words.is_ok(), "{answer:?}");
        let (answer, words) =
            (answer.unwrap_or_else(|reason| reason), words.unwrap_or_else(|words| words));
        assert!(answer.contains(words), "{answer}");
    }
    // Without another listing; the writer here does not begin the next epoch.
    until(&scene, "SELECT COUNT(*) FROM objects WHERE readings = 2").await;
    scene.shutdown.soft.cancel();
    ended(fetcher).await;
}
