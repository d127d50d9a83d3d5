package server

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// meters are the figures of the API and of the state behind it.
type meters struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	waiting  prometheus.Gauge
	repeated prometheus.Counter
}

func newMeters(c HTTPConfig) meters {
	registry := prometheus.NewRegistry()
	if c.Figures != nil {
		registry.MustRegister(figures(c.Figures))
	}
	m := meters{
		registry: registry,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cluster_http_requests_total",
			Help: "Requests answered, by route and status."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "cluster_http_request_seconds",
			Help:    "Time to the end of an answer, by route, without what a blocking read waited.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60}}, []string{"route"}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{Name: "cluster_http_repeated_total",
			Help: "Requests tried again because leadership changed or the leader was out of reach."}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "cluster_http_blocked_reads",
			Help: "Reads that wait for a change now."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "cluster_build", Help: "1, with the version that runs.",
		ConstLabels: prometheus.Labels{"version": c.Version}})
	build.Set(1)
	registry.MustRegister(m.requests, m.seconds, m.waiting, m.repeated, build)
	for name, figure := range stateFigures(c.Core) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: figure.help}, figure.value))
	}
	return m
}

// Figure is a number that /v1/metrics shows.
type Figure struct {
	Name  string // such as cluster_client_lease_failures_total
	Help  string
	Total bool // it only grows while the agent lives
	Value float64
}

// figures shows what the function returns at every reading.
type figures func() []Figure

// Describe says nothing of what will come: the figures are checked when they are read.
func (f figures) Describe(chan<- *prometheus.Desc) {}

// Collect reads the figures.
func (f figures) Collect(into chan<- prometheus.Metric) {
	for _, one := range f() {
		kind := prometheus.GaugeValue
		if one.Total {
			kind = prometheus.CounterValue
		}
		into <- prometheus.MustNewConstMetric(prometheus.NewDesc(one.Name, one.Help, nil, nil), kind, one.Value)
	}
}

// figure is a number that follows from the state.
type figure struct {
	help  string
	value func() float64
}

// stateFigures are read when somebody asks for them, and cost nothing before.
func stateFigures(core core) map[string]figure {
	count := func(n func(*state.Snapshot) int) func() float64 {
		return func() float64 { return float64(n(core.Snapshot())) }
	}
	return map[string]figure{
		"cluster_state_index":       {"Index of the last entry applied.", func() float64 { return float64(core.Snapshot().Index()) }},
		"cluster_state_allocations": {"Allocations in the state.", count((*state.Snapshot).AllocCount)},
		"cluster_state_jobs": {"Jobs in the state.", count(func(sn *state.Snapshot) (n int) {
			for range sn.Jobs(cluster.AllNamespaces, "") {
				n++
			}
			return n
		})},
		"cluster_state_nodes_ready": {"Nodes that new work may be placed on.", count(func(sn *state.Snapshot) (n int) {
			for node := range sn.Nodes() {
				if node.Ready() {
					n++
				}
			}
			return n
		})},
		"cluster_state_evaluations_pending": {"Evaluations to be planned.", count(func(sn *state.Snapshot) (n int) {
			for range sn.PendingEvals() {
				n++
			}
			return n
		})},
		"cluster_state_evaluations_blocked": {"Evaluations that wait for room.", count(func(sn *state.Snapshot) (n int) {
			for range sn.BlockedEvals() {
				n++
			}
			return n
		})},
		"cluster_leader": {"1 if this server leads.", func() float64 {
			if core.Leadership().Self {
				return 1
			}
			return 0
		}},
		"cluster_goroutines": {"Goroutines of this process.", func() float64 { return float64(runtime.NumGoroutine()) }},
	}
}

// answered counts a request.
func (m *meters) answered(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// metrics answers with all figures, as JSON or in the text format of Prometheus.
func (h *apiHandler) metrics(r *request, w http.ResponseWriter) error {
	switch format := r.query.Get("format"); format {
	case "prometheus":
		promhttp.HandlerFor(h.meters.registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(w, r.Request)
		return nil
	case "":
		value, err := h.meters.gather(time.Now())
		if err != nil {
			return err
		}
		return w.(*reply).json(r, value)
	default:
		return cluster.Errorf(cluster.CodeInvalid, "read format %.100q: want prometheus, or nothing for JSON", format)
	}
}

// gather is all figures as JSON has them.
func (m *meters) gather(now time.Time) (api.Metrics, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return api.Metrics{}, err
	}
	out := api.Metrics{Timestamp: now.UTC().Format("2006-01-02 15:04:05 +0000 UTC"),
		Gauges: []api.Gauge{}, Points: []struct{}{}, Counters: []api.Sample{}, Samples: []api.Sample{}}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			switch name := family.GetName(); {
			case metric.GetGauge() != nil:
				out.Gauges = append(out.Gauges, api.Gauge{Name: name, Value: metric.GetGauge().GetValue(), Labels: labels})
			case metric.GetCounter() != nil:
				v := metric.GetCounter().GetValue()
				out.Counters = append(out.Counters, api.Sample{Name: name, Count: uint64(v), Sum: v, Labels: labels})
			case metric.GetHistogram() != nil:
				count, sum := metric.GetHistogram().GetSampleCount(), metric.GetHistogram().GetSampleSum()
				out.Samples = append(out.Samples, api.Sample{Name: name, Count: count, Sum: sum, Mean: sum / float64(max(count, 1)), Labels: labels})
			}
		}
	}
	return out, nil
}
