//! Bytes to fields: the validity gate, every accessor, the extension walk, and stamps.

#![forbid(unsafe_code)]

use std::hint::black_box;

use bench::requests;
use criterion::Criterion;
use ntpring::wire::{NtpTimestamp, Packet, Precision};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parse(&mut criterion);
    extension_walk(&mut criterion);
    stamps(&mut criterion);
    criterion.final_summary();
}

fn parse(c: &mut Criterion) {
    let request = requests::time(4, 0x0123_4567_89AB_CDEF);
    let mut group = c.benchmark_group("parse");
    group.bench_function("gate", |b| {
        b.iter(|| Packet::new_checked(black_box(request.as_slice())).is_ok());
    });
    group.bench_function("gate and all fields", |b| {
        b.iter(|| {
            let packet = Packet::new_checked(black_box(request.as_slice())).ok()?;
            black_box((packet.leap(), packet.version(), packet.mode(), packet.stratum()));
            black_box((packet.poll(), packet.precision(), packet.reference_id()));
            black_box((packet.root_delay(), packet.root_dispersion(), packet.reference_time()));
            black_box((packet.origin(), packet.receive(), packet.transmit()));
            Some(())
        });
    });
    group.finish();
}

fn extension_walk(c: &mut Criterion) {
    let mut group = c.benchmark_group("extension walk");
    for fields in [0, 1, 2, 8, 34] {
        let request = requests::with_extension_fields(fields);
        group.bench_function(format!("{fields} fields, {} octets", request.len()), |b| {
            b.iter(|| {
                let packet = Packet::new_checked(black_box(request.as_slice())).ok()?;
                Some(packet.trailer().ok()?.extensions.count())
            });
        });
    }
    let signed = requests::with_mac();
    group.bench_function("MAC", |b| {
        b.iter(|| {
            Some(Packet::new_checked(black_box(signed.as_slice())).ok()?.trailer().ok()?.mac.is_some())
        });
    });
    group.finish();
}

fn stamps(c: &mut Criterion) {
    let mut group = c.benchmark_group("stamps");
    let now = NtpTimestamp::from_unix(1_767_225_600, 123_456_789);
    group.bench_function("from timespec", |b| {
        b.iter(|| NtpTimestamp::from_unix(black_box(1_767_225_600), black_box(123_456_789)));
    });
    group.bench_function("to timespec", |b| b.iter(|| black_box(now).to_unix(NtpTimestamp::PIVOT)));
    group.bench_function("difference", |b| {
        b.iter(|| black_box(now).signed_since(black_box(NtpTimestamp::UNKNOWN)));
    });
    group.bench_function("random bits below precision", |b| {
        b.iter(|| black_box(now).fuzzed(Precision::from_log2(-25), black_box(0xDEAD_BEEF)));
    });
    group.finish();
}
