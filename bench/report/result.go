// Package report holds what a run of the load generator has found out, and shows it: as text, JSON,
// CSV, HTML and HDR logs. It merges the results of several processes, compares two runs and checks
// assertions. It measures nothing itself.
package report

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// SchemaVersion is that of the JSON; a reader must refuse a higher one.
const SchemaVersion = 1

// Result is what a run has found out. Its JSON is the published format: durations are in
// microseconds, with "_us" at the end of the name, moments are RFC 3339 in UTC.
type Result struct {
	Schema   int       `json:"schema"`
	Scenario string    `json:"scenario"` // echo, fanout, idle, storm, slow, soak
	Target   string    `json:"target"`   // URL without query and user information
	Command  []string  `json:"command"`  // secrets left out
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"` // of the measured phase
	Machine  Machine   `json:"machine"`

	Plan     Plan     `json:"plan"`
	Achieved Achieved `json:"achieved"`

	// Latencies by name: "corrected" counts from the planned moment of a message, "raw" from when
	// it was sent; "connect", "tls", "upgrade" and "first" are the phases of connecting; "open" and
	// "back" are when the connections of a storm were open, after its beginning and after a cut;
	// "spread_first", "spread_median" and "spread_last" are when the first, the median and the
	// last receiver got a broadcast.
	Latencies map[string]*Latency `json:"latencies"`
	// Errors counts by class, like "connect: refused" or "closed: 1008".
	Errors map[string]uint64 `json:"errors,omitempty"`
	// Delivery is of a fan-out; nil for other scenarios.
	Delivery *Delivery `json:"delivery,omitempty"`
	// Server is what the server cost; nil if that is not known.
	Server *Server `json:"server,omitempty"`
	// Generator is what generating the load cost.
	Generator Generator `json:"generator"`
	// Series has a point a second.
	Series []Point `json:"series"`
	// Notes are sentences for people: what the server did to slow readers, and the like.
	Notes []string `json:"notes,omitempty"`
	// Suspicions say why the generator may have been the bottleneck; none means that the run is
	// valid.
	Suspicions []string `json:"suspicions,omitempty"`
	// Assertions are what was asked for.
	Assertions []Assertion `json:"assertions,omitempty"`
}

// Machine says where a run took place.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Commit string `json:"commit"`
}

// Plan is what the run was to do.
type Plan struct {
	Connections int     `json:"connections"`
	Rate        float64 `json:"rate"`     // messages per second of all; 0 in a closed loop
	InFlight    int     `json:"inflight"` // per connection
	Bytes       int     `json:"bytes"`    // of a message
	OpenLoop    bool    `json:"open_loop"`
}

// Achieved is what became of it.
type Achieved struct {
	Connections int     `json:"connections"`
	Sent        uint64  `json:"sent"`
	Received    uint64  `json:"received"`
	Rate        float64 `json:"rate"` // received per second
	BytesIn     uint64  `json:"bytes_in"`
	BytesOut    uint64  `json:"bytes_out"`
}

// Delivery is what became of broadcasts.
type Delivery struct {
	Expected uint64 `json:"expected"`
	Received uint64 `json:"received"`
	Lost     uint64 `json:"lost"`
	Repeated uint64 `json:"repeated"`
	Reorder  uint64 `json:"reordered"`
	Broken   uint64 `json:"broken"` // contents changed
}

// Server is what the server cost during the measured phase.
type Server struct {
	CPUSeconds    float64 `json:"cpu_seconds"`
	CPUPerMessage float64 `json:"cpu_per_message_us"`
	RSS           int64   `json:"rss_bytes"`          // at the end
	RSSPerConn    float64 `json:"rss_per_connection"` // slope in bytes; 0 if it is not known
	Source        string  `json:"source"`             // "/proc" or "/metrics"
}

// Generator is what generating the load cost, and how well it kept its plan.
type Generator struct {
	CPUSeconds float64  `json:"cpu_seconds"`
	CPUShare   float64  `json:"cpu_share"` // of the cores that its event loops can use
	RSS        int64    `json:"rss_bytes"`
	GCPause    float64  `json:"gc_pause_us"` // the longest
	SendLag    *Latency `json:"send_lag"`    // from a message's planned moment until it was sent
	Processes  int      `json:"processes"`
}

// Point is one second of a run.
type Point struct {
	At          float64 `json:"at"` // seconds since the start of the measured phase
	Connections int     `json:"connections"`
	Sent        uint64  `json:"sent"` // within the second, like received and errors
	Received    uint64  `json:"received"`
	Errors      uint64  `json:"errors"`
	P50         float64 `json:"p50_us"` // of what was received within the second
	P99         float64 `json:"p99_us"`
	Max         float64 `json:"max_us"`
}

// Latency is a distribution. The quantiles are there for readers of the JSON; Histogram has it all.
type Latency struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p99_9_us"`
	P9999 float64 `json:"p99_99_us"`
	Max   float64 `json:"max_us"`
	HDR   string  `json:"hdr"` // the histogram in the compressed V2 encoding, base64
	hist  *hdrhistogram.Histogram
}

// Assertion is a condition that the run was to meet.
type Assertion struct {
	Text   string  `json:"text"` // "p99<20ms"
	Actual float64 `json:"actual"`
	Passed bool    `json:"passed"`
}
