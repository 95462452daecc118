//! The report: tables and charts beside the paper's own figures, with what agrees and what does not.

use std::fmt::Write;

use super::super::exit::Exit;
use super::chart::{Chart, Line, LineKind};
use super::experiment::{DEPTHS, Experiment, FRAMES, Links, MOST, SIZE, SIZES, System};
use super::failure::failed;
use super::published;
use super::record::{Convolution, Record, Settings};

/// The report's file.
pub const NAME: &str = "report.md";

/// A share or ratio agrees with the paper's if it is off by less.
const CLOSE: f64 = 0.15;

/// Its text, and its charts by their files' names.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn write(
    settings: &Settings,
    records: &[Record],
) -> Result<(String, Vec<(String, String)>), Exit> {
    let mut document = Document { settings, records, text: String::new(), charts: Vec::new() };
    document.all().map_err(failed)?;
    Ok((document.text, document.charts))
}

struct Document<'a> {
    settings: &'a Settings,
    records: &'a [Record],
    text: String,
    charts: Vec<(String, String)>,
}

type Written = Result<(), Box<dyn std::error::Error>>;

/// Adds lines to the text.
macro_rules! say {
    ($document:expr, $($text:tt)*) => { writeln!($document.text, $($text)*)? };
}

impl Document<'_> {
    fn all(&mut self) -> Written {
        self.introduction()?;
        self.profile()?;
        self.partitions()?;
        self.links()?;
        self.fusion()?;
        self.sizes()?;
        self.frames()?;
        self.beyond()
    }

    /// Seconds per frame on devices like the paper's.
    fn seconds(&self, experiment: Experiment) -> f64 {
        let record = self.records.iter().find(|record| record.experiment == experiment);
        record.map_or(f64::NAN, |record| record.seconds(self.settings.scale))
    }

    /// The same with one to four followers.
    fn by_followers(&self, depth: u32, links: Links, system: System) -> [f64; MOST as usize] {
        [1, 2, 3, 4].map(|followers| self.seconds(run(depth, followers, links, system)))
    }

    fn chart(&mut self, file: &str, chart: &Chart) -> Written {
        self.charts.push((file.to_owned(), chart.svg()?));
        say!(self, "![{}]({file})\n", chart.title);
        Ok(())
    }

    /// A row of a table, whose values are also a line of a chart over `places`.
    fn row(
        &mut self,
        (depth, system): (u32, System),
        places: impl IntoIterator<Item = f64>,
        values: &[f64],
    ) -> Result<Line, Box<dyn std::error::Error>> {
        let cells: Vec<String> = values.iter().map(|value| format!("{value:.2}")).collect();
        say!(self, "| VGG{depth} | {system} | {} |", cells.join(" | "));
        let points = places.into_iter().zip(values.iter().copied()).collect();
        let name = format!("VGG{depth}, {system}");
        Ok(Line { name, points, style: LineKind::Measured })
    }

    fn introduction(&mut self) -> Written {
        let Settings { version, scale, frames, pace, machine, date, .. } = self.settings;
        say!(self, "# The EdgeLD paper's figures, reproduced\n");
        say!(
            self,
            "Measured by `edgeld bench paper --scale {scale} --frames {frames}` (edgeld {version}) on \
             {date}, on one machine ({machine}). The paper is Xue et al., *EdgeLD: Locally Distributed \
             Deep Learning Inference on Edge Device Clusters*, HPCC 2020.\n"
        );
        say!(
            self,
            "A leader and up to {MOST} followers run within one process. Followers compute {:.1} % of \
             the time on a thread of their own, and interfaces carry no more than they should; both are \
             {scale} times as fast as the paper's, and all times below are multiplied by that. They are \
             medians of {frames} frames after one to warm up. What is scaled by one number: the time that \
             one follower takes for VGG16's convolutions ({} s in the paper). Everything else is \
             measured.\n",
            pace * 100.0,
            published::COMPUTING
        );
        say!(
            self,
            "Not emulated: PyTorch (the kernels here are this project's), the fixed 20 ms that each of \
             the paper's convolutions costs on top, the dense layers (on the leader in the paper, left out \
             here), and swapping.\n"
        );
        Ok(())
    }

    fn profile(&mut self) -> Written {
        let points = &self.settings.convolutions;
        let (slope, fixed, explained) = line(points);
        say!(self, "## Figure 4: operations against time\n");
        say!(
            self,
            "All convolutions of VGG16 at {}, {} and {} pixels on one thread at full pace: T = a F + b with \
             a = {slope:.3e} s and b = {:.3} ms explains {:.1} % of the variance. The paper has a = 6.24e-11 \
             s and b = 19.7 ms on its devices. **{}**\n",
            SIZES[0],
            SIZES[1],
            SIZES[2],
            fixed * 1e3,
            explained * 100.0,
            if explained > 0.9 {
                "Linear, as in the paper."
            } else {
                "Less linear than in the paper."
            }
        );
        let measured = points.iter().map(|point| (point.flops / 1e9, point.time.0)).collect();
        let most = points.iter().map(|point| point.flops).fold(0.0, f64::max);
        let fit = [0.0, most].map(|flops| (flops / 1e9, (slope * flops + fixed) * 1e3)).to_vec();
        let lines = vec![
            Line { name: "convolutions".to_owned(), points: measured, style: LineKind::Points },
            Line { name: "T = a F + b".to_owned(), points: fit, style: LineKind::Measured },
        ];
        let title = "Figure 4: operations against time".to_owned();
        let (x, y) = ("GFLOP", "ms on one thread");
        self.chart("figure4.svg", &Chart { title, x, y, places: Vec::new(), lines })
    }

    fn partitions(&mut self) -> Written {
        say!(self, "## BODP and OCBP: seconds per frame\n");
        say!(self, "In brackets what the paper has.\n");
        say!(self, "| network, links | system | 1 follower | 2 | 3 | 4 | speed-up of 4 |");
        say!(self, "|---|---|---|---|---|---|---|");
        for depth in DEPTHS {
            let mut lines = Vec::new();
            for links in [Links::Fast, Links::Gigabit] {
                for system in [System::Bodp, System::Ocbp] {
                    let ours = self.by_followers(depth, links, system);
                    let theirs = published::seconds(depth, links, system).unwrap_or([f64::NAN; 4]);
                    let cells: Vec<String> = ours
                        .iter()
                        .zip(theirs)
                        .map(|(ours, theirs)| format!("{ours:.2} ({theirs:.2})"))
                        .collect();
                    say!(
                        self,
                        "| VGG{depth}, {links} | {system} | {} | {:.2} ({:.2}) |",
                        cells.join(" | "),
                        ours[0] / ours[3],
                        theirs[0] / theirs[3]
                    );
                    if links == Links::Gigabit {
                        let followers = [1.0, 2.0, 3.0, 4.0];
                        let points =
                            |seconds: [f64; 4]| followers.into_iter().zip(seconds).collect();
                        lines.push(Line {
                            name: system.to_string(),
                            points: points(ours),
                            style: LineKind::Measured,
                        });
                        lines.push(Line {
                            name: format!("{system} in the paper"),
                            points: points(theirs),
                            style: LineKind::Published,
                        });
                    }
                }
            }
            let title = format!("VGG{depth} at 1000 Mbit/s");
            let (x, y) = ("followers", "seconds per frame");
            let chart = Chart { title, x, y, places: Vec::new(), lines };
            self.charts.push((format!("partition_vgg{depth}.svg"), chart.svg()?));
        }
        say!(self, "\n![VGG13](partition_vgg13.svg)\n\n![VGG16](partition_vgg16.svg)\n");
        for depth in DEPTHS {
            let gains = [Links::Fast, Links::Gigabit].into_iter().flat_map(|links| {
                let [bodp, ocbp] = [System::Bodp, System::Ocbp]
                    .map(|system| self.by_followers(depth, links, system));
                bodp.into_iter().zip(ocbp).map(|(bodp, ocbp)| 100.0 * (1.0 - ocbp / bodp))
            });
            let gains: Vec<f64> = gains.collect();
            let mean = gains.iter().sum::<f64>() / gains.len() as f64;
            let (least, most) = range(gains);
            let (from, to) = published::gain(depth);
            say!(
                self,
                "* VGG{depth}: OCBP takes {mean:.1} % less time than BODP ({least:.1} to {most:.1} %); in the paper \
                 {from} to {to} %. {} Devices and links are equal here, where both share rows alike but for what \
                 transfers cost.",
                verdict((from..=to).contains(&mean))
            );
        }
        let ocbp = |links| self.by_followers(16, links, System::Ocbp);
        let at = ocbp(Links::Gigabit);
        let (ours, theirs) = ([1, 2, 3].map(|more| at[0] / at[more]), published::SPEED_UPS);
        say!(
            self,
            "* Two, three and four followers answer {:.2}, {:.2} and {:.2} times as soon as one (VGG16, OCBP, \
             1000 Mbit/s); in the paper {:.2}, {:.2} and {:.2}. {}\n",
            ours[0],
            ours[1],
            ours[2],
            theirs[0],
            theirs[1],
            theirs[2],
            verdict(
                ours.iter().zip(theirs).all(|(ours, theirs)| (ours / theirs - 1.0).abs() < CLOSE)
            )
        );
        Ok(())
    }

    fn links(&mut self) -> Written {
        say!(self, "## Figure 5: four followers over one, by links\n");
        say!(self, "| network | system | {} |", Links::ALL.map(|l| l.to_string()).join(" | "));
        say!(self, "|---|---|---|---|---|---|");
        let mut lines = Vec::new();
        for system in [System::Bodp, System::Ocbp] {
            let mut all = Vec::new();
            for depth in DEPTHS {
                let gain = Links::ALL.map(|links| {
                    // Of mixed links the first is slow, so one follower is taken from the fastest.
                    let base = if links == Links::Mixed { Links::Gigabit } else { links };
                    self.seconds(run(depth, 1, base, system))
                        / self.seconds(run(depth, MOST, links, system))
                });
                lines.push(self.row((depth, system), (0..).map(f64::from), &gain)?);
                all.extend(gain);
            }
            let (least, most) = range(all);
            if let Some((from, to)) = published::speed_up(system) {
                say!(
                    self,
                    "| both | {system} in the paper | {from} to {to}; here {least:.2} to {most:.2} | | | |"
                );
            }
        }
        say!(self, "");
        let title = "Figure 5: four followers over one".to_owned();
        let places = Links::ALL.map(|links| links.to_string()).to_vec();
        self.chart("figure5.svg", &Chart { title, x: "links", y: "speed-up", places, lines })?;
        let mixed = |system| self.seconds(run(16, MOST, Links::Mixed, system));
        let gain = 100.0 * (1.0 - mixed(System::Ocbp) / mixed(System::Bodp));
        say!(
            self,
            "Mixed links are where the two differ by design: OCBP takes {gain:.1} % less time than BODP for \
             VGG16 there, as it gives the follower at 100 Mbit/s fewer rows.\n"
        );
        Ok(())
    }

    fn fusion(&mut self) -> Written {
        say!(self, "## Figure 6: layer by layer, and in fused blocks\n");
        say!(self, "OCBP, 1000 Mbit/s, seconds per frame.\n");
        say!(self, "| network | followers | layer by layer | fused | times as soon |");
        say!(self, "|---|---|---|---|---|");
        let mut lines = Vec::new();
        for depth in DEPTHS {
            let [layers, blocks] = [System::Layerwise, System::Ocbp]
                .map(|system| self.by_followers(depth, Links::Gigabit, system));
            for ((followers, layers), blocks) in (1..).zip(layers).zip(blocks) {
                let gain = layers / blocks;
                say!(self, "| VGG{depth} | {followers} | {layers:.2} | {blocks:.2} | {gain:.2} |");
            }
            for (name, seconds) in [("layer by layer", layers), ("fused", blocks)] {
                let points = (1..).map(f64::from).zip(seconds).collect();
                let name = format!("VGG{depth}, {name}");
                lines.push(Line { name, points, style: LineKind::Measured });
            }
            let gains = || layers.iter().zip(blocks).map(|(layers, blocks)| layers / blocks);
            let mean = gains().sum::<f64>() / f64::from(MOST);
            let (least, most) = range(gains());
            let paper = published::fused(depth);
            say!(
                self,
                "| VGG{depth} in the paper | | | | {paper:.2}; here {mean:.2} ({least:.2} to {most:.2}): {} |",
                // At least half of what it gains there.
                verdict(mean - 1.0 >= (paper - 1.0) / 2.0)
            );
        }
        say!(self, "");
        let title = "Figure 6: layer by layer, and fused".to_owned();
        let (x, y) = ("followers", "seconds per frame");
        self.chart("figure6.svg", &Chart { title, x, y, places: Vec::new(), lines })
    }

    fn sizes(&mut self) -> Written {
        say!(self, "## Figures 7 and 8: map sizes\n");
        say!(self, "Four followers, 1000 Mbit/s, seconds per frame.\n");
        say!(self, "| network | system | {} |", SIZES.map(|s| s.to_string()).join(" | "));
        say!(self, "|---|---|---|---|---|");
        let mut lines = Vec::new();
        for depth in DEPTHS {
            for system in [System::Bodp, System::Ocbp] {
                let sized = |size| {
                    self.seconds(Experiment { size, ..run(depth, MOST, Links::Gigabit, system) })
                };
                let seconds = SIZES.map(sized);
                lines.push(self.row((depth, system), SIZES.map(f64::from), &seconds)?);
            }
        }
        say!(
            self,
            "\nFrom 224 to 448 there are four times the pixels. In the paper followers swap at 448 with VGG16; \
             here they have memory, and a plan that needs more than there is is never chosen.\n"
        );
        let title = "Figures 7 and 8: map sizes".to_owned();
        let (x, y) = ("pixels on a side", "seconds per frame");
        self.chart("figure7_8.svg", &Chart { title, x, y, places: Vec::new(), lines })
    }

    fn frames(&mut self) -> Written {
        say!(self, "## Figures 9 and 10: one to five frames\n");
        say!(
            self,
            "Four followers, 1000 Mbit/s, seconds until so many frames are answered that follow each other.\n"
        );
        say!(self, "| network | system | 1 frame | 2 | 3 | 4 | 5 |");
        say!(self, "|---|---|---|---|---|---|---|");
        let mut lines = Vec::new();
        for depth in DEPTHS {
            for system in [System::Bodp, System::Ocbp] {
                let experiment = run(depth, MOST, Links::Gigabit, system);
                let record = self.records.iter().find(|record| record.experiment == experiment);
                let Some(record) = record else { continue };
                let times = record.frames.iter().take(FRAMES as usize);
                let sums = times.scan(0.0, |sum, time| {
                    *sum += time.0 * self.settings.scale / 1e3;
                    Some(*sum)
                });
                let sums: Vec<f64> = sums.collect();
                lines.push(self.row((depth, system), (1..).map(f64::from), &sums)?);
            }
        }
        say!(self, "");
        let title = "Figures 9 and 10: several frames".to_owned();
        let (x, y) = ("frames", "seconds");
        self.chart("figure9_10.svg", &Chart { title, x, y, places: Vec::new(), lines })
    }

    fn beyond(&mut self) -> Written {
        say!(self, "## Beyond the paper\n");
        say!(
            self,
            "The same devices under this project's default: the leader computes, too, pools stay on the \
             devices, neighbours exchange rows directly, and the planner chooses what is fused. So there is a \
             device more that computes: what is compared is the same number of devices in the room.\n"
        );
        say!(self, "| network, links | devices | EdgeLD (OCBP) | default | times as soon |");
        say!(self, "|---|---|---|---|---|");
        let mut lines = Vec::new();
        for depth in DEPTHS {
            for links in [Links::Fast, Links::Gigabit] {
                let [paper, ours] = [System::Ocbp, System::Default]
                    .map(|system| self.by_followers(depth, links, system));
                for ((devices, paper), ours) in (2..).zip(paper).zip(ours) {
                    let gain = paper / ours;
                    say!(
                        self,
                        "| VGG{depth}, {links} | {devices} | {paper:.2} | {ours:.2} | {gain:.2} |"
                    );
                }
                if depth == 16 {
                    for (name, seconds) in [("EdgeLD", paper), ("default", ours)] {
                        let points = (2..).map(f64::from).zip(seconds).collect();
                        let name = format!("{name}, {links}");
                        lines.push(Line { name, points, style: LineKind::Measured });
                    }
                }
            }
        }
        say!(self, "");
        let title = "VGG16: EdgeLD and this project's default".to_owned();
        let (x, y) = ("devices, the leader included", "seconds per frame");
        self.chart("beyond.svg", &Chart { title, x, y, places: Vec::new(), lines })?;
        say!(
            self,
            "`runs.csv` has every run with its frames, promised times and bytes, as measured; `settings.json` \
             what was emulated."
        );
        Ok(())
    }
}

fn run(depth: u32, followers: u32, links: Links, system: System) -> Experiment {
    Experiment { followers, links, system, depth, size: SIZE }
}

fn verdict(agrees: bool) -> &'static str {
    if agrees { "**Reproduced.**" } else { "**Not reproduced.**" }
}

fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let all = values.into_iter().filter(|value| value.is_finite());
    all.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value))
    })
}

/// The line of least squares: seconds per operation, seconds, and the explained part of the variance.
fn line(points: &[Convolution]) -> (f64, f64, f64) {
    let count = points.len() as f64;
    let mean = |of: &dyn Fn(&Convolution) -> f64| points.iter().map(of).sum::<f64>() / count;
    let seconds = |point: &Convolution| point.time.0 / 1e3;
    let (flops, time) = (mean(&|point| point.flops), mean(&seconds));
    let both = mean(&|point| (point.flops - flops) * (seconds(point) - time));
    let spread = mean(&|point| (point.flops - flops).powi(2));
    let slope = both / spread;
    let all = mean(&|point| (seconds(point) - time).powi(2));
    (slope, time - slope * flops, slope * both / all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeld_runtime::units::Ms;

    #[test]
    fn a_line_is_found() {
        let on = |flops: f64| Convolution { flops, time: Ms(2e-6 * flops + 3.0) };
        let (slope, fixed, explained) = line(&[1e6, 2e6, 5e6].map(on));
        assert!((slope - 2e-9).abs() < 1e-15 && (fixed - 3e-3).abs() < 1e-9);
        assert!((explained - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_report_has_all_figures_and_no_gaps() {
        let record = |experiment: Experiment| Record {
            experiment,
            frames: vec![Ms(experiment.expected() * 125.0); FRAMES as usize],
            predicted: Ms(1.0),
            bytes: 1,
        };
        let records: Vec<Record> = Experiment::all().into_iter().map(record).collect();
        let convolution = |flops: f64| Convolution { flops, time: Ms(flops / 1e8) };
        let settings = Settings {
            version: "1".to_owned(),
            scale: 8.0,
            frames: 3,
            pace: 0.1,
            machine: "a machine".to_owned(),
            date: "2020-12-14".to_owned(),
            convolutions: [1e9, 2e9, 3e9].map(convolution).to_vec(),
        };
        let (text, charts) = write(&settings, &records).unwrap();
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        for figure in ["4", "5", "6", "7 and 8", "9 and 10"] {
            assert!(text.contains(figure), "{figure}");
        }
        assert!(charts.iter().all(|(name, _)| text.contains(name)));
        assert_eq!(charts.len(), 8);
    }
}
