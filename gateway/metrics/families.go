package metrics

// families lists every metric of the gateway. Its help texts are the metrics' documentation.
func families(cfg *Config) []family {
	var all []family
	for _, group := range [][]family{
		connectionFamilies(cfg), messageFamilies(), compressionFamilies(), limitFamilies(cfg),
		authFamilies(cfg), tlsFamilies(cfg), proxyFamilies(),
		broadcastFamilies(), loopFamilies(), workerFamilies(), processFamilies(cfg),
	} {
		all = append(all, group...)
	}
	return all
}

func connectionFamilies(cfg *Config) []family {
	return []family{{
		name:    "connections",
		help:    "Open connections, whatever their state.",
		collect: loops(func(l *Loop) int { return l.Conns }),
	}, {
		name:    "connections_opened_total",
		help:    "Connections given to an event loop.",
		collect: state(func(s *Snapshot) uint64 { return s.Accept.Accepted }),
	}, {
		name:   "connections_closed_total",
		help:   "Connections that have ended, by the reason of the gateway's session.",
		labels: []string{"reason"},
		collect: sumEach(cfg.CloseReasons, func(s *Shard, i int) *Counter {
			return s.Closed(uint8(i))
		}),
	}, {
		name: "connections_dropped_total",
		help: "Connections disconnected as soon as accepted: too many others were being turned " +
			"away at the time. They count neither as opened nor as rejected handshakes.",
		collect: state(func(s *Snapshot) uint64 { return s.Accept.Turned }),
	}, {
		name:    "accept_errors_total",
		help:    "Failures of accept: out of descriptors, or anything else.",
		labels:  []string{"kind"},
		collect: acceptErrors,
	}, {
		name:    "handshakes_total",
		help:    "Handshakes answered with 101.",
		collect: sum(func(s *Shard) *Counter { return &s.Handshakes }),
	}, {
		name:   "handshake_rejected_total",
		help:   "Handshakes refused, or given up for their time, by reason.",
		labels: []string{"reason"},
		collect: sumEach(cfg.RejectReasons, func(s *Shard, i int) *Counter {
			return s.Rejected(uint8(i))
		}),
	}, {
		name:    "handshake_duration_seconds",
		help:    "Time from accepting a connection until its handshake was answered with 101.",
		collect: histogram(func(s *Shard) *Histogram { return &s.HandshakeSeconds }),
	}}
}

func messageFamilies() []family {
	received := [...]func(*Shard) *Counter{
		func(s *Shard) *Counter { return &s.ReceivedText },
		func(s *Shard) *Counter { return &s.ReceivedBinary },
		func(s *Shard) *Counter { return &s.ReceivedPings },
		func(s *Shard) *Counter { return &s.ReceivedPongs },
		func(s *Shard) *Counter { return &s.ReceivedCloses },
	}
	opcodes := []string{"text", "binary", "ping", "pong", "close"}
	return []family{{
		name:   "messages_received_total",
		help:   "Whole messages and control frames from peers, by opcode.",
		labels: []string{"opcode"},
		collect: sumEach(opcodes, func(s *Shard, i int) *Counter {
			return received[i](s)
		}),
	}, {
		name:    "messages_sent_total",
		help:    "Data messages queued for peers.",
		collect: sum(func(s *Shard) *Counter { return &s.MessagesSent }),
	}, {
		name:    "control_frames_sent_total",
		help:    "Pings and pongs queued for peers.",
		collect: sum(func(s *Shard) *Counter { return &s.ControlSent }),
	}, {
		name:    "received_bytes_total",
		help:    "Bytes read from peers.",
		collect: loops(func(l *Loop) uint64 { return l.BytesIn }),
	}, {
		name:    "sent_bytes_total",
		help:    "Bytes written to peers.",
		collect: loops(func(l *Loop) uint64 { return l.BytesOut }),
	}, {
		name:    "write_queue_bytes",
		help:    "Bytes in the outbound queues of all connections.",
		collect: loops(func(l *Loop) int64 { return l.Queued }),
	}, {
		name:    "unsent_bytes",
		help:    "Bytes that the kernel holds for connections whose peers do not take them.",
		collect: loops(func(l *Loop) int64 { return l.Unsent }),
	}}
}

func compressionFamilies() []family {
	return []family{{
		name:    "deflate_in_bytes_total",
		help:    "Bytes of messages for peers before compression, once per encoding.",
		collect: sum(func(s *Shard) *Counter { return &s.DeflatedFrom }),
	}, {
		name:    "deflate_out_bytes_total",
		help:    "Bytes of messages for peers after compression, once per encoding.",
		collect: sum(func(s *Shard) *Counter { return &s.DeflatedTo }),
	}, {
		name:    "inflate_in_bytes_total",
		help:    "Bytes of compressed messages from peers.",
		collect: sum(func(s *Shard) *Counter { return &s.InflatedFrom }),
	}, {
		name:    "inflate_out_bytes_total",
		help:    "Bytes that compressed messages from peers were inflated to.",
		collect: sum(func(s *Shard) *Counter { return &s.InflatedTo }),
	}, {
		name:    "compression_memory_bytes",
		help:    "Memory set aside for the compression contexts of open connections.",
		collect: state(func(s *Snapshot) int64 { return s.CompressionMemory }),
	}, {
		name:    "compression_declined_total",
		help:    "Handshakes that offered permessage-deflate and did not get it.",
		collect: sum(func(s *Shard) *Counter { return &s.CompressionDeclined }),
	}}
}

func limitFamilies(cfg *Config) []family {
	return []family{{
		name: "slow_consumer_total",
		help: "What slow consumers cost: connections closed for the policy disconnect, messages " +
			"dropped for the others, by the bound that was reached.",
		labels:  []string{"policy", "reason"},
		collect: slowConsumers(cfg.Policies, cfg.SlowReasons),
	}, {
		name:   "rate_limited_total",
		help:   "Messages, control frames and connections turned away by a limit, by its scope.",
		labels: []string{"scope"},
		collect: sumEach(scopeNames[:], func(s *Shard, i int) *Counter {
			return s.RateLimited(Scope(i))
		}),
	}}
}

func authFamilies(cfg *Config) []family {
	return []family{{
		name:   "auth_verdicts_total",
		help:   "Credentials by what the verifiers said: accepted, or why not.",
		labels: []string{"verdict"},
		collect: sumEach(cfg.AuthVerdicts, func(s *Shard, i int) *Counter {
			return s.Verdict(uint8(i))
		}),
	}, {
		name:    "bad_signatures_total",
		help:    "Messages in signed rooms that were not signed well.",
		collect: sum(func(s *Shard) *Counter { return &s.BadSignatures }),
	}, {
		name:    "auth_verifying",
		help:    "Credentials whose verification has not finished.",
		collect: state(func(s *Snapshot) int { return s.Auth.Verifying }),
	}, {
		name:    "auth_queue_waiting",
		help:    "Credentials that wait to be verified, by the service that has to be asked.",
		labels:  []string{"service"},
		collect: eachQueue(func(q *AuthQueue) float64 { return float64(q.Waiting) }),
	}, {
		name:    "auth_queue_running",
		help:    "Credentials that are being verified, by the service that is asked.",
		labels:  []string{"service"},
		collect: eachQueue(func(q *AuthQueue) float64 { return float64(q.Running) }),
	}, {
		name: "auth_queue_dropped_total",
		help: "Credentials that were not verified because the queue of the service was full, or " +
			"because they waited in it for too long.",
		labels:  []string{"service"},
		collect: eachQueue(func(q *AuthQueue) float64 { return float64(q.Dropped) }),
	}, {
		name:   "auth_rechecks_total",
		help:   "Open connections that were verified again, by what the service said.",
		labels: []string{"result"},
		collect: sumEach([]string{"kept", "refused", "postponed"}, func(s *Shard, i int) *Counter {
			return [...]*Counter{&s.Rechecked, &s.RecheckRefused, &s.RecheckPostponed}[i]
		}),
	}, {
		name:    "auth_cache_hits_total",
		help:    "Credentials that the cache knew.",
		collect: state(func(s *Snapshot) uint64 { return s.Auth.CacheHits }),
	}, {
		name:    "auth_cache_misses_total",
		help:    "Credentials that the cache did not know.",
		collect: state(func(s *Snapshot) uint64 { return s.Auth.CacheMisses }),
	}, {
		name:    "auth_users",
		help:    "Users with a connection whose credential was accepted.",
		collect: state(func(s *Snapshot) int { return s.Auth.Users }),
	}, {
		name:    "auth_revocations",
		help:    "Revoked users and tokens that are remembered.",
		collect: state(func(s *Snapshot) int { return s.Auth.Revocations }),
	}}
}

func tlsFamilies(cfg *Config) []family {
	return []family{{
		name:   "tls_handshakes_total",
		help:   "TLS handshakes that have ended, by outcome.",
		labels: []string{"outcome"},
		collect: func(x *scrape) {
			for i, label := range cfg.TLSOutcomes {
				n := uint64(0)
				if i < len(x.state.TLS.Outcomes) {
					n = x.state.TLS.Outcomes[i]
				}
				x.emit(float64(n), label)
			}
		},
	}, {
		name:    "tls_resumed_total",
		help:    "TLS handshakes that resumed an earlier session.",
		collect: state(func(s *Snapshot) uint64 { return s.TLS.Resumed }),
	}, {
		name:    "tls_handshakes_in_flight",
		help:    "TLS handshakes under way.",
		collect: state(func(s *Snapshot) int { return s.TLS.Pending }),
	}, {
		name:    "tls_handshakes_waiting",
		help:    "TLS handshakes that wait to be begun. More connections wait in the kernel.",
		collect: state(func(s *Snapshot) int { return s.TLS.Waiting }),
	}, {
		name:    "tls_handshakes_begun_total",
		help:    "TLS handshakes for which something was computed.",
		collect: state(func(s *Snapshot) uint64 { return s.TLS.Begun }),
	}, {
		name: "tls_certificate_expiry_timestamp_seconds",
		help: "When the first of the certificates expires, in seconds since 1970; 0 without TLS.",
		collect: state(func(s *Snapshot) int64 {
			if s.TLS.Expires.IsZero() {
				return 0
			}
			return s.TLS.Expires.Unix()
		}),
	}, {
		name:   "tls_reloads_total",
		help:   "Attempts to load the certificates again, by result.",
		labels: []string{"result"},
		collect: func(x *scrape) {
			x.emit(float64(x.state.TLS.Reloaded), "loaded")
			x.emit(float64(x.state.TLS.Failed), "failed")
		},
	}}
}

func proxyFamilies() []family {
	return []family{{
		name: "proxy_headers_total",
		help: "Connections to a listener that wants a PROXY header: it was there, the peer is " +
			"no trusted proxy, or there was none in time.",
		labels: []string{"result"},
		collect: func(x *scrape) {
			p := &x.state.Proxied
			x.emit(float64(p.Announced), "announced")
			x.emit(float64(p.Untrusted), "untrusted")
			x.emit(float64(p.Invalid), "invalid")
		},
	}}
}

func broadcastFamilies() []family {
	return []family{{
		name:    "broadcasts_total",
		help:    "Messages published to a channel.",
		collect: sum(func(s *Shard) *Counter { return &s.Broadcasts }),
	}, {
		name:    "deliveries_total",
		help:    "Published messages handed to a subscriber, dropped ones included.",
		collect: sum(func(s *Shard) *Counter { return &s.Deliveries }),
	}, {
		name:    "broadcast_delay_seconds",
		help:    "Time from a publication until a loop had queued it for its subscribers.",
		collect: histogram(func(s *Shard) *Histogram { return &s.BroadcastSeconds }),
	}, {
		name:    "broadcast_queue_bytes",
		help:    "Bytes of publications that wait for the event loops.",
		collect: state(func(s *Snapshot) int { return s.Broadcasts.Waiting }),
	}, {
		name:    "channels",
		help:    "Channels that have a subscriber.",
		collect: state(func(s *Snapshot) int { return s.Broadcasts.Channels }),
	}}
}

func loopFamilies() []family {
	return []family{{
		name:    "loop_turns_total",
		help:    "Turns of an event loop.",
		labels:  []string{"loop"},
		collect: eachLoop(func(l *Loop) float64 { return float64(l.Turns) }),
	}, {
		name: "loop_lag_seconds",
		help: "Time since an event loop last began a turn. An idle loop turns once a second, so " +
			"only more than that means that it hangs.",
		labels:  []string{"loop"},
		collect: eachLoop(func(l *Loop) float64 { return l.LastTurn.Seconds() }),
	}, {
		name:    "loop_events_total",
		help:    "Readiness events of all event loops.",
		collect: loops(func(l *Loop) uint64 { return l.Events }),
	}, {
		name:    "read_calls_total",
		help:    "System calls that read from peers.",
		collect: loops(func(l *Loop) uint64 { return l.Reads }),
	}, {
		name:    "write_calls_total",
		help:    "System calls that wrote to peers.",
		collect: loops(func(l *Loop) uint64 { return l.Writes }),
	}}
}

func workerFamilies() []family {
	return []family{{
		name:    "workers_running",
		help:    "Workers that have work.",
		collect: state(func(s *Snapshot) int { return s.Workers.Running }),
	}, {
		name:    "workers_ready",
		help:    "Sessions with work that wait for a worker.",
		collect: state(func(s *Snapshot) int { return s.Workers.Ready }),
	}, {
		name:    "workers_queued",
		help:    "Tasks that no worker has finished.",
		collect: state(func(s *Snapshot) int { return s.Workers.Queued }),
	}, {
		name:    "workers_tasks_total",
		help:    "Tasks that workers have finished.",
		collect: state(func(s *Snapshot) uint64 { return s.Workers.Executed }),
	}, {
		name:    "worker_panics_total",
		help:    "Panics of tasks. Each ended one session.",
		collect: state(func(s *Snapshot) uint64 { return s.Workers.Panics }),
	}}
}

func processFamilies(cfg *Config) []family {
	return []family{{
		name:    "panics_total",
		help:    "Panics of sessions, on event loops and in tasks. Each ended one session.",
		collect: sum(func(s *Shard) *Counter { return &s.Panics }),
	}, {
		name:    "log_dropped_total",
		help:    "Log lines dropped because the log could not be written fast enough.",
		collect: state(func(s *Snapshot) uint64 { return s.LogDropped }),
	}, {
		name:    "audit_events_total",
		help:    "Events that the audit log has written.",
		collect: state(func(s *Snapshot) uint64 { return s.Audit.Written }),
	}, {
		name:    "audit_events_pending",
		help:    "Events that wait for the audit log. Past 16384 nobody is let in.",
		collect: state(func(s *Snapshot) int { return s.Audit.Waiting }),
	}, {
		name:    "audit_errors_total",
		help:    "Failures to open or write the audit log.",
		collect: state(func(s *Snapshot) uint64 { return s.Audit.Failed }),
	}, {
		name:    "admin_connections",
		help:    "Open connections of the admin listener.",
		collect: state(func(s *Snapshot) int { return s.Admin.Conns }),
	}, {
		name:    "admin_evicted_total",
		help:    "Connections of the admin listener closed to make room for another one.",
		collect: state(func(s *Snapshot) uint64 { return s.Admin.Evicted }),
	}, {
		name: "admin_denied_total",
		help: "Requests to the admin listener refused for a wrong or missing token, or because " +
			"their address had shown too many.",
		labels:  []string{"reason"},
		collect: adminDenials,
	}, {
		name:    "drain_state",
		help:    "0 while serving, 1 while not ready but still accepting, 2 while closing.",
		collect: state(func(s *Snapshot) DrainState { return s.Drain }),
	}, {
		name: "memory_state",
		help: "0 while there is enough memory, 1 while nothing new is taken on, 2 while the " +
			"largest outbound queues are given up.",
		collect: state(func(s *Snapshot) MemoryState { return s.MemoryState }),
	}, {
		name:    "memory_limit_bytes",
		help:    "Memory limit of the Go runtime; 0 if there is none.",
		collect: state(func(s *Snapshot) uint64 { return s.MemoryLimit }),
	}, {
		name: "config_last_reload_successful",
		help: "1 if the last reload of the configuration succeeded, or there was none; else 0.",
		collect: state(func(s *Snapshot) int {
			if s.Reload.Failed {
				return 0
			}
			return 1
		}),
	}, {
		name:    "config_last_reload_timestamp_seconds",
		help:    "When the configuration in force was loaded, in seconds since 1970.",
		collect: lastReloadTime,
	}, {
		name:    "build_info",
		help:    "Always 1. The labels are the versions of the program and of Go.",
		labels:  []string{"version", "goversion"},
		collect: buildInfo(cfg.Version),
	}}
}
