//! Payloads: byte for byte what was put, whatever their size.

use super::{Table, deliver, fail, fail_last, requeue};
use crate::conformance::samples::die;

async fn comes_back(table: &Table, number: u64, payload: Vec<u8>) {
    let key = table.key(number);
    let length = payload.len();
    assert!(table.insert(&key, payload.clone()).await);
    let read = table.event(&key).await.and_then(|event| event.payload);
    assert!(read.is_some_and(|read| read == payload), "{length} bytes come back as they were");
}

pub(super) async fn empty(table: Table) {
    comes_back(&table, 1, Vec::new()).await;
}

/// Where a payload leaves its row.
pub(super) async fn around_one_kibibyte(table: Table) {
    for (number, size) in (0..24).map(|step| 520 + 24 * step).enumerate() {
        comes_back(&table, number as u64, vec![b'p'; size]).await;
    }
}

pub(super) async fn large(table: Table) {
    comes_back(&table, 1, vec![b'p'; 256 * 1024]).await;
}

/// An item has 400 KB at most.
pub(super) async fn near_the_limit_of_an_item(table: Table) {
    comes_back(&table, 1, vec![b'p'; 400 * 1000]).await;
}

pub(super) async fn not_utf8(table: Table) {
    comes_back(&table, 1, vec![0xff, 0xfe, 0x00, 0x80]).await;
    comes_back(&table, 2, vec![0xff; 5_000]).await;
}

pub(super) async fn every_byte_comes_back(table: Table) {
    comes_back(&table, 1, (0..=127).collect()).await;
    comes_back(&table, 2, (0..=255).collect()).await;
    let text = "{\"a\" : 1.0,\t\"é\": \"\\u0000 🦀 \u{2028}\"}\r\n ";
    comes_back(&table, 3, text.as_bytes().to_vec()).await;
}

pub(super) async fn they_outlive_every_write(table: Table) {
    for (number, size) in [(1, 100), (2, 10_000)] {
        let key = table.key(number);
        assert!(table.insert(&key, vec![b'q'; size]).await);
        table.done(&key, fail("a", 0, 1)).await;
        table.done(&key, fail_last("a", 1, 2)).await;
        table.done(&key, die("a", 1, 2)).await;
        table.done(&key, requeue(false)).await;
        assert!(table.write(&key, 1, deliver(1)).await);
        let payload = table.event(&key).await.and_then(|event| event.payload);
        assert_eq!(payload.map(|payload| payload.len()), Some(size));
    }
}
