use super::{
    page, plot,
    sampler::value_of,
    samples::Samples,
    trend::{self, Verdict},
};
use crate::ScratchFolder;

/// A run of an hour with one column, whose value is given for each minute.
fn hour(column: &str, value: impl Fn(f64) -> f64) -> Samples {
    let rows = (0..360).map(|number| (f64::from(number) * 10.0, vec![value(f64::from(number) / 6.0)])).collect();
    Samples { columns: vec![column.into()], rows }
}

fn verdict(samples: &Samples) -> Verdict {
    trend::all(samples)[0].verdict
}

#[test]
fn what_moves_around_a_level_is_flat_and_what_climbs_grows() {
    let saw = |minute: f64| 100.0 + minute % 7.0 * 3.0;
    for column in ["replica-0.memory", "replica-1.tasks", "table.print_job.live", "store.kib"] {
        assert_eq!(verdict(&hour(column, saw)), Verdict::Flat, "{column}");
    }
    assert_eq!(verdict(&hour("replica-0.memory", |minute| 60.0 + 2.0 * minute)), Verdict::Grows);
    assert_eq!(verdict(&hour("table.print_job.live", |minute| 60.0 * minute)), Verdict::Grows);
    assert_eq!(verdict(&hour("store.kib", |minute| 10_000.0 * minute)), Verdict::Grows);
}

#[test]
fn rows_may_become_more_until_their_retention_is_reached() {
    let fills = |minute: f64| 5000.0 * (minute / 6.0).min(1.0);
    assert_eq!(verdict(&hour("table.upload_session.live", fills)), Verdict::Flat);
    let mut early = hour("table.upload_session.live", fills);
    early.rows.truncate(12 * 6);
    assert_eq!(verdict(&early), Verdict::NotJudged, "six minutes after the retention are too few");
    assert_eq!(verdict(&hour("table.audit.live", |minute| 60.0 * minute)), Verdict::NotJudged);
}

#[test]
fn samples_are_read_as_they_were_written() {
    let folder = ScratchFolder::new("soak").expect("a folder");
    let file = folder.path().join("samples.csv");
    let mut samples = Samples::default();
    for second in [0.0, 10.0] {
        let values = vec![("replica-0.cpu".to_owned(), f64::NAN), ("table.audit.live".to_owned(), second + 0.5)];
        samples.add(second, values, &file).expect("added");
    }
    let read = Samples::read(&file).expect("read");
    assert_eq!(read.columns, samples.columns);
    assert_eq!(read.of("table.audit.live"), [(0.0, 0.5), (10.0, 10.5)]);
    assert_eq!((read.of("replica-0.cpu"), read.of("other")), (vec![], vec![]));
}

#[test]
fn the_section_is_replaced_between_its_markers() {
    let page = page::with_section("# Page\n\n<!-- soak:begin -->\nold\n<!-- soak:end -->\n\n## Next\n", "new");
    assert_eq!(page, "# Page\n\n<!-- soak:begin -->\nnew\n<!-- soak:end -->\n\n## Next\n");
    assert_eq!(page::with_section("# Page\n", "new"), "# Page\n<!-- soak:begin -->\nnew\n<!-- soak:end -->\n");
}

#[test]
fn what_grows_is_marked() {
    let samples = hour("replica-0.memory", |minute| 60.0 + 2.0 * minute);
    let section = page::section(&[], &samples, None);
    assert!(section.contains("| replica 0: memory | 74.8 MiB | 164.8 MiB | 179.7 MiB | **grows** |"), "{section}");
}

#[test]
fn a_panel_has_a_line_for_each_replica() {
    let plot = plot::replicas(&hour("replica-0.memory", |minute| minute));
    assert_eq!(plot.matches("<polyline").count(), 16, "{plot}");
    assert!(plot.contains("<polyline class=\"a\" points=\"64.0,106.0 "), "{plot}");
}

#[test]
fn a_metric_is_the_sum_of_its_series() {
    let metrics = "# TYPE a gauge\na{kind=\"x y\"} 2\na{kind=\"z\"} 3\nab 7\n";
    assert_eq!((value_of(metrics, "a"), value_of(metrics, "ab")), (5.0, 7.0));
    assert!(value_of(metrics, "b").is_nan());
}
