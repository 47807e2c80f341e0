//! The ratios as numbers for machines and as a picture for people.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::prelude::*;

use crate::fixtures::ratio;
use crate::measure::{Curve, Measured};

/// What a curve shows: served checks, checks inside the process, changes.
type Shown = fn(&Measured) -> std::time::Duration;

/// Writes `growth.csv` and `growth.svg`.
pub fn write(folder: &Path, all: &[(&Curve, Vec<Measured>)]) -> Result<(), Box<dyn Error>> {
    let mut lines = vec!["grows,count,served_ns,inside_ns,change_ns".to_owned()];
    for (curve, measured) in all {
        for (point, here) in curve.points.iter().zip(measured) {
            lines.push(format!(
                "{},{},{},{},{}",
                curve.name,
                point.count,
                here.served.as_nanos(),
                here.inside.as_nanos(),
                here.change.as_nanos()
            ));
        }
    }
    fs::write(folder.join("growth.csv"), lines.join("\n") + "\n")?;
    let path = folder.join("growth.svg");
    let area = SVGBackend::new(&path, (960, 340)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels: [(&str, f64, Shown); 3] = [
        ("check over gRPC", 1.2, |here| here.served),
        ("check inside the process", 1.2, |here| here.inside),
        ("role change", 1.5, |here| here.change),
    ];
    for (panel, (title, bar, shown)) in area.split_evenly((1, 3)).iter().zip(panels) {
        draw(panel, title, bar, shown, all)?;
    }
    area.present()?;
    Ok(())
}

fn draw(
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    bar: f64,
    shown: Shown,
    all: &[(&Curve, Vec<Measured>)],
) -> Result<(), Box<dyn Error>> {
    let ratios = |measured: &[Measured]| -> Vec<f64> {
        let first = shown(&measured[0]);
        measured
            .iter()
            .map(|here| ratio(shown(here), first))
            .collect()
    };
    let highest = all
        .iter()
        .flat_map(|(_, measured)| ratios(measured))
        .fold(2.0, f64::max);
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("{title}, p50 as a multiple"), ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(34)
        .build_cartesian_2d((1.0_f64..150_000.0_f64).log_scale(), 0.0..highest * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("how many there are")
        .x_label_formatter(&|count| format!("{count:.0}"))
        .x_labels(6)
        .draw()?;
    let across = [(1.0, bar), (150_000.0, bar)];
    chart.draw_series(LineSeries::new(across, BLACK.mix(0.4)))?;
    for (index, (curve, measured)) in all.iter().enumerate() {
        let color = Palette99::pick(index).stroke_width(2);
        let points = curve.points.iter().zip(ratios(measured));
        let points: Vec<(f64, f64)> = points
            .map(|(point, ratio)| (point.count.max(1) as f64, ratio))
            .collect();
        chart
            .draw_series(LineSeries::new(points.clone(), color))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], color));
        chart.draw_series(
            points
                .into_iter()
                .map(|point| Circle::new(point, 3, Palette99::pick(index).filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 11))
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}
