//! What the daemon counts, as text that Prometheus reads (OpenMetrics 1.0).
//!
//! Everything is read when it is asked for; the names are published in README.md. Labels
//! are names of RPCs, codes, reasons and causes, all from lists that do not grow: never an
//! id of somebody or something.

use std::fmt;
use std::fs;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::calls::{Calls, Decided, Deciding, Ended, Shed};
use super::methods::{Method, code_name};
use crate::application::Application;
use crate::application::figures::OUTCOMES;
use crate::measure::{Count, Spread, to_float};
use crate::store::figures::REFUSALS;

/// What the text is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What there is to tell once the daemon serves.
pub struct Exposition {
    calls: Arc<Calls>,
    /// Not kept alive by whoever asks for metrics.
    application: std::sync::Weak<Application>,
}

impl Exposition {
    /// Tells of these.
    pub fn new(calls: Arc<Calls>, application: &Arc<Application>) -> Self {
        Self {
            calls,
            application: Arc::downgrade(application),
        }
    }
}

/// Everything there is to tell.
pub fn write(told: Option<&Exposition>, is_ready: bool) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let calls = told.map(|told| Arc::clone(&told.calls));
    let application = told.and_then(|told| told.application.upgrade());
    registry.register_collector(Box::new(Scrape {
        calls,
        application,
        is_ready,
    }));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(written)
}

/// One reading of everything.
struct Scrape {
    calls: Option<Arc<Calls>>,
    application: Option<Arc<Application>>,
    is_ready: bool,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut build = page.family("roster_build_info", "The release", MetricType::Gauge)?;
        build.of(&version)?.encode_gauge(&1_u64)?;
        page.gauge("roster_ready", "1 while ready", u64::from(self.is_ready))?;
        page.process()?;
        if let Some(calls) = &self.calls {
            page.calls(calls)?;
            page.connections(calls)?;
        }
        if let Some(application) = &self.application {
            page.application(application)?;
        }
        Ok(())
    }
}

/// A metric of which there is one for each set of labels.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn of<'s, S: EncodeLabelSet>(
        &'s mut self,
        labels: &'s S,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_family(labels)
    }

    fn count<S: EncodeLabelSet>(&mut self, labels: &S, count: u64) -> fmt::Result {
        self.of(labels)?
            .encode_counter::<NoLabels, _, u64>(&count, None)
    }
}

/// No labels, where the encoder wants some.
type NoLabels = prometheus_client::encoding::NoLabelSet;

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<Family<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind).map(Family)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.family(name, help, MetricType::Counter)?;
        metric.0.encode_counter::<NoLabels, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        // Without a limit of its own something may be unlimited.
        let value = value.min(i64::MAX as u64);
        let mut metric = self.family(name, help, MetricType::Gauge)?;
        metric.0.encode_gauge(&value)
    }

    fn histogram(&mut self, name: &str, help: &str, spread: &Spread) -> fmt::Result {
        let mut metric = self.family(name, help, MetricType::Histogram)?;
        encode_spread(&mut metric.0, spread)
    }

    /// Counts under one label.
    fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut metric = self.family(name, help, MetricType::Counter)?;
        for (value, count) in counts {
            metric.count(&[(label, value)], count)?;
        }
        Ok(())
    }

    /// What became of calls.
    fn calls(&mut self, calls: &Calls) -> fmt::Result {
        let tallies = calls.tallies();
        let labelled = |method: &Method| {
            [
                ("grpc_type", method.kind.to_owned()),
                ("grpc_service", method.service.clone()),
                ("grpc_method", method.name.clone()),
            ]
        };
        let help = "Calls that came";
        let mut started = self.family("grpc_server_started", help, MetricType::Counter)?;
        for (method, tally) in &tallies {
            started.count(&labelled(method), tally.started)?;
        }
        let help = "Calls that ended, by code";
        let mut handled = self.family("grpc_server_handled", help, MetricType::Counter)?;
        let mut under_way = 0;
        for (method, tally) in &tallies {
            under_way += tally.started.saturating_sub(tally.codes.iter().sum());
            for (code, count) in tally.codes.iter().enumerate() {
                if *count > 0 {
                    let [kind, service, name] = labelled(method);
                    let code = ("grpc_code", code_name(code).to_owned());
                    handled.count(&[kind, service, name, code], *count)?;
                }
            }
        }
        let help = "Time from the head of a request to the end of its answer; one in 64 ordinary \
                    checks is measured, and counts for 64";
        let name = "grpc_server_handling_seconds";
        let mut seconds = self.family(name, help, MetricType::Histogram)?;
        for (method, tally) in &tallies {
            if tally.seconds.count() > 0 {
                encode_spread(&mut seconds.of(&labelled(method))?, &tally.seconds)?;
            }
        }
        self.gauge("roster_calls_in_flight", "Calls under way", under_way)?;
        self.decisions(calls)?;
        self.counters(
            "roster_calls_refused",
            "Calls refused for load",
            "cause",
            Shed::ALL.map(|why| (why.name(), calls.shed_for(why))),
        )
    }

    fn decisions(&mut self, calls: &Calls) -> fmt::Result {
        let threads = calls.each_thread();
        let help = "Decisions that were given";
        let mut metric = self.family("roster_decisions", help, MetricType::Counter)?;
        for rpc in Deciding::ALL {
            let all = threads.iter().map(|thread| &thread.decisions);
            let all: Vec<&Decided> = all
                .chain([&calls.decisions])
                .map(|all| all.of(rpc))
                .collect();
            let allowed = all.iter().map(|decided| decided.allowed.get()).sum();
            let denied = all.iter().map(|decided| decided.denied.get()).sum();
            for (decision, count) in [("allow", allowed), ("deny", denied)] {
                metric.count(
                    &[("grpc_method", rpc.name()), ("decision", decision)],
                    count,
                )?;
            }
        }
        let help = "First reasons of decisions, where reasons were asked for";
        let mut metric = self.family("roster_decision_reasons", help, MetricType::Counter)?;
        for (decision, reason, count) in calls.reasons() {
            metric.count(&[("decision", decision), ("reason", reason)], count)?;
        }
        Ok(())
    }

    fn connections(&mut self, calls: &Calls) -> fmt::Result {
        let threads = calls.each_thread();
        let help = "How late what is ready gets its turn on a serving thread";
        let mut lag = self.family("roster_thread_lag_seconds", help, MetricType::Gauge)?;
        for (number, thread) in threads.iter().enumerate() {
            let seconds = thread.pace.lag().as_secs_f64();
            lag.of(&[("thread", number)])?.encode_gauge(&seconds)?;
        }
        let help = "Single checks that a client may have open on a connection of the thread";
        let mut share = self.family("roster_thread_open_checks", help, MetricType::Gauge)?;
        for (number, thread) in threads.iter().enumerate() {
            let open = u64::from(thread.pace.open(1));
            share.of(&[("thread", number)])?.encode_gauge(&open)?;
        }
        let help = "Connections that are open";
        let mut open = self.family("roster_connections", help, MetricType::Gauge)?;
        let mut accepted = 0;
        for (number, thread) in threads.iter().enumerate() {
            let closed = thread.closed.get();
            let opened = thread.opened.get();
            accepted += opened;
            let count = opened.saturating_sub(closed);
            open.of(&[("thread", number)])?.encode_gauge(&count)?;
        }
        let name = "roster_connections_accepted";
        self.counter(name, "Connections that were opened", accepted)?;
        self.counters(
            "roster_connections_refused",
            "Connections that were not taken",
            "cause",
            [
                ("too_many", calls.too_many.get()),
                ("failed", calls.failed.get()),
            ],
        )?;
        self.counters(
            "roster_connections_closed",
            "Connections ended by a limit of time",
            "cause",
            Ended::ALL.map(|why| (why.name(), calls.ended_for(why))),
        )
    }

    fn application(&mut self, application: &Application) -> fmt::Result {
        let figures = application.figures();
        let condition = figures.condition;
        let loads = OUTCOMES.into_iter().zip(figures.loads);
        self.counters(
            "roster_organization_loads",
            "Organizations read from disk",
            "outcome",
            loads,
        )?;
        self.histogram(
            "roster_organization_load_seconds",
            "Time to read and compile an organization",
            &figures.load_seconds,
        )?;
        self.counter(
            "roster_organization_evictions",
            "Organizations that left memory for want of room",
            figures.evicted,
        )?;
        let writable = condition.refusal.is_none();
        let numbers = [
            (
                "roster_revision",
                "The last commit that checks see",
                figures.published,
            ),
            (
                "roster_store_revision",
                "The last commit that is stored",
                figures.stored,
            ),
            (
                "roster_organizations_resident",
                "Organizations in memory",
                figures.resident as u64,
            ),
            (
                "roster_organizations_resident_bytes",
                "What organizations in memory take, by estimate",
                figures.weight as u64,
            ),
            (
                "roster_organizations_budget_bytes",
                "What organizations in memory may take",
                figures.limit as u64,
            ),
            (
                "roster_organizations_unsound",
                "Organizations that are not sound",
                figures.unsound as u64,
            ),
            (
                "roster_commits_under_way",
                "Commits handed to the store and not answered",
                condition.under_way as u64,
            ),
            (
                "roster_store_writable",
                "1 while changes are taken",
                u64::from(writable),
            ),
            (
                "roster_store_readable",
                "1 while the store can be read",
                u64::from(condition.can_be_read),
            ),
            (
                "roster_disk_minimum_free_bytes",
                "Free bytes below which changes are refused",
                condition.minimum_free_bytes,
            ),
        ];
        for (name, help, value) in numbers {
            self.gauge(name, help, value)?;
        }
        if let Some(free) = condition.free_bytes {
            let help = "Free bytes of the data directory's file system";
            self.gauge("roster_disk_free_bytes", help, free)?;
        }
        match &figures.store {
            Some(store) => self.store(store),
            None => Ok(()),
        }
    }

    fn store(&mut self, store: &crate::store::figures::Figures) -> fmt::Result {
        let (commits, bytes) = (store.commits.get(), store.bytes.get());
        self.counter("roster_commits", "Commits that were made", commits)?;
        self.counter("roster_journal_bytes", "Bytes added to the journal", bytes)?;
        self.counters(
            "roster_commits_refused",
            "Commits that were refused",
            "cause",
            REFUSALS
                .into_iter()
                .zip(store.refused.iter().map(Count::get)),
        )?;
        for (name, help, histogram) in [
            (
                "roster_commit_group_size",
                "Commits that were made durable together",
                &store.groups,
            ),
            (
                "roster_journal_write_seconds",
                "Time to append to the journal and make it durable",
                &store.writes,
            ),
            (
                "roster_commit_visible_seconds",
                "Time from handing in a commit until every check sees it",
                &store.visible,
            ),
        ] {
            self.histogram(name, help, &histogram.read())?;
        }
        Ok(())
    }

    /// What the operating system tells of the process; what it doesn't is left out.
    fn process(&mut self) -> fmt::Result {
        let Some(process) = Process::read() else {
            return Ok(());
        };
        let help = "Time that processors spent on it";
        let name = "process_cpu_seconds";
        let mut cpu = self.family(name, help, MetricType::Counter)?;
        cpu.0
            .encode_counter::<NoLabels, _, u64>(&process.cpu_seconds, None)?;
        let help = "When it began, in seconds since 1970";
        let name = "process_start_time_seconds";
        let mut started = self.family(name, help, MetricType::Gauge)?;
        started.0.encode_gauge(&process.started)?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory it takes",
                process.resident,
            ),
            (
                "process_virtual_memory_bytes",
                "Addresses it takes",
                process.virtual_,
            ),
            ("process_threads", "Threads it has", process.threads),
        ] {
            self.gauge(name, help, value)?;
        }
        if let Some(open) = process.open_fds {
            self.gauge("process_open_fds", "Descriptors it has open", open)?;
        }
        match process.max_fds {
            Some(most) => self.gauge("process_max_fds", "Descriptors it may have open", most),
            None => Ok(()),
        }
    }
}

fn encode_spread(metric: &mut MetricEncoder<'_>, spread: &Spread) -> fmt::Result {
    metric.encode_histogram::<NoLabels>(spread.sum, spread.count(), &spread.buckets, None)
}

/// The process as `/proc` shows it.
struct Process {
    cpu_seconds: f64,
    started: f64,
    resident: u64,
    virtual_: u64,
    threads: u64,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

impl Process {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program may have spaces and brackets in it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        let ticks = to_float(rustix::param::clock_ticks_per_second());
        let page = rustix::param::page_size() as u64;
        let booted = fs::read_to_string("/proc/stat").ok()?;
        let booted = booted.lines().find_map(|line| line.strip_prefix("btime "));
        let booted: u64 = booted?.trim().parse().ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok();
        let most = limits.as_deref().and_then(|limits| {
            let line = limits
                .lines()
                .find_map(|line| line.strip_prefix("Max open files"))?;
            line.split_whitespace().next()?.parse().ok()
        });
        Some(Self {
            cpu_seconds: to_float(field(14)? + field(15)?) / ticks,
            started: to_float(booted) + to_float(field(22)?) / ticks,
            virtual_: field(23)?,
            resident: field(24)? * page,
            threads: field(20)?,
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|open| open.count() as u64),
            max_fds: most,
        })
    }
}
