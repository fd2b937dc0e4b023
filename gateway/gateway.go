package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/gateway/admin"
	"sluice/gateway/audit"
	"sluice/gateway/deflate"
	"sluice/gateway/hub"
	"sluice/gateway/local"
	"sluice/gateway/metrics"
	"sluice/gateway/origin"
	"sluice/gateway/signed"
	"sluice/gateway/wire"
	"sluice/gateway/workers"
	"sluice/poller"
)

const (
	// workersPerCore is the size of the pool by default: tasks are CPU work, and some may wait.
	workersPerCore = 8
	// fanoutInboxBytes is what may wait in one loop's fan-out before publishers are paused: less
	// than an outbound queue holds by default, as a loop that has caught up hands it to the
	// receivers at once. fanoutTakeBytes is what one round of it delivers: less than any sane
	// outbound queue, so that every receiver is offered a round before the next one is queued.
	fanoutInboxBytes = 512 << 10
	fanoutTakeBytes  = 64 << 10
	// closeTimeout is how long Close waits for tasks that are being run.
	closeTimeout = 5 * time.Second
	// userTimeout makes the kernel give up a peer that acknowledges nothing.
	userTimeout = 20 * time.Second
	// orphanTimeout is the same for what is left of a connection that its peer has ended.
	orphanTimeout = 5 * time.Second
	// descriptorReserveMax is what the descriptor limit leaves for everything but connections.
	descriptorReserveMax = 512
)

// Options are what a gateway needs beside its configuration.
type Options struct {
	Logger  *slog.Logger // nil means slog.Default()
	Version string       // shown in metrics
	// LogDropped is the number of log lines that were lost since the start, for the metrics; nil
	// means that none can be. Any goroutine may call it.
	LogDropped func() uint64
	// Stderr is where the audit log goes if its path is "stderr"; nil means os.Stderr.
	Stderr io.Writer
}

// Gateway is a running WebSocket gateway. Its methods may be called from any goroutine.
type Gateway struct {
	log        *slog.Logger
	logDropped func() uint64
	sampler    sampler
	start      time.Time
	ids        connIDs

	engine  poller.Engine
	lanes   []*lane
	hub     *hub.Hub
	codec   *deflate.Codec // nil without compression
	workers *workers.Pool
	door    *door
	clients clients
	// forwardingWarned is set by the first warning of warnForwarding.
	forwardingWarned atomic.Bool
	parting          []byte // for peers that cannot even be kept to be told why; may be empty
	metrics          *metrics.Metrics
	admin            *admin.Server // nil without an admin listener, and before Start
	// adminToken is what the admin listener wants for changes; empty if that comes from loopback.
	adminToken string
	adminTLS   *adminTLS // nil if the admin listener is plain HTTP
	// authority is nil if nobody has to prove who they are.
	authority *authority
	// encryption is nil if clients connect without TLS.
	encryption *encryption
	memory     *memoryGuard
	signer     *signed.Signer // nil if no room wants signatures
	audit      *audit.Log     // nil without an audit log

	current   atomic.Pointer[settings]
	loaded    atomic.Pointer[metrics.Reload]
	reloading sync.Mutex // guards writing current and loaded
	drain     drainState

	addr   net.Addr
	closed sync.Once
}

// settings is a configuration in force, with what is derived from it.
type settings struct {
	Config
	origins  *origin.List // nil if every page may connect
	hosts    *local.Hosts // that requests may ask for; nil if all
	messages wire.MessageLimits
}

// New makes a gateway from a valid configuration. It listens only once Start is called. Close must
// follow in any case.
func New(cfg Config, opts Options) (*Gateway, error) {
	return newGateway(cfg, opts, poller.New)
}

// newEngine makes the engine of a gateway.
type newEngine func(name string, cfg poller.Config) (poller.Engine, error)

func newGateway(cfg Config, opts Options, engine newEngine) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	max, err := connectionsMax(&cfg)
	if err != nil {
		return nil, err
	}
	g := &Gateway{log: opts.Logger, logDropped: opts.LogDropped, start: time.Now()}
	if g.log == nil {
		g.log = slog.Default()
	}
	if !cfg.Encrypted() { // a peer that wants TLS first could not read it
		g.parting = wire.AppendRefusal(nil,
			&wire.Refusal{Status: 503, Reason: wire.ReasonCapacity, RetryAfter: 15})
	}
	g.ids.start()
	g.memory = newMemoryGuard()
	g.door = newDoor(g)
	if g.clients, err = newClients(&cfg); err != nil {
		return nil, err
	}
	g.install(cfg, max)
	err = g.startAudit(&cfg, opts.Stderr)
	if err == nil {
		err = g.build(cfg, opts.Version, engine)
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// build starts the parts, from the leaves up.
func (g *Gateway) build(cfg Config, version string, engine newEngine) (err error) {
	count := cfg.Workers
	if count == 0 {
		count = workersPerCore * runtime.GOMAXPROCS(0)
	}
	g.workers, err = workers.New(workers.Config{
		Workers: count, InboxTasksMax: inboxTasksMax, InboxBytesMax: inboxBytesMax,
	})
	if err != nil {
		return err
	}
	if err = g.startTLS(&cfg); err != nil {
		return err
	}
	if g.adminToken, err = loadAdminToken(cfg.AdminTokenFile); err != nil {
		return err
	}
	if err = g.startAdminTLS(&cfg); err != nil {
		return err
	}
	if g.signer, err = newSigner(&cfg); err != nil {
		return err
	}
	if g.authority, err = g.newAuthority(&cfg); err != nil {
		return err
	}
	if cfg.Compression {
		g.codec, err = deflate.NewCodec(deflate.Config{
			Level:           cfg.CompressionLevel,
			MessageBytesMin: cfg.CompressionBytesMin,
			ContextBytesMax: cfg.CompressionMemoryMax,
		})
		if err != nil {
			return err
		}
	}
	g.engine, err = engine(cfg.Engine, poller.Config{
		Loops: cfg.Loops, Logger: g.log, StarvedParting: g.parting, UserTimeout: userTimeout,
		OrphanTimeout: orphanTimeout, UnsentBytesMax: min(cfg.SendBufferBytes, cfg.QueueBytesMax/2),
	})
	if err != nil {
		return err
	}
	loops := g.engine.Loops()
	g.metrics = g.newMetrics(len(loops), version)
	fanouts := make([]*fanout, len(loops))
	g.hub = hub.New(hub.Config{
		Shards:        len(loops),
		Wake:          func(i int) { loops[i].Post(fanouts[i]) },
		Delivered:     func(i int, pub *hub.Publication) { fanouts[i].delivered(pub) },
		InboxBytesMax: fanoutInboxBytes,
		TakeBytesMax:  fanoutTakeBytes,
	})
	for i, l := range loops {
		g.lanes = append(g.lanes, newLane(g, l, g.metrics.Shard(i)))
		fanouts[i] = &fanout{g.lanes[i]}
	}
	return nil
}

// install puts a configuration into force.
func (g *Gateway) install(cfg Config, connectionsMax int) {
	g.door.configure(&cfg, connectionsMax)
	origins, hosts := cfg.pages()
	g.current.Store(&settings{
		Config:  cfg,
		origins: origins,
		hosts:   hosts,
		messages: wire.MessageLimits{
			MessageBytesMax: cfg.MessageBytesMax,
			FragmentsMax:    cfg.FragmentsMax,
		},
	})
	g.loaded.Store(&metrics.Reload{Loaded: time.Now()})
}

// pages says which pages may connect, nil for all, and which hosts requests may ask for, nil for
// all. Without a list and without authentication, a listener on loopback is one that a developer
// has started: it serves pages of this machine, and none of those that the developer visits. The
// configuration must be valid.
func (c *Config) pages() (*origin.List, *local.Hosts) {
	switch {
	case len(c.Origins) > 0:
		list, err := origin.Parse(c.Origins)
		if err != nil {
			panic(err) // Validate has parsed them
		}
		return list, nil
	case local.Listens(c.Listen) && !c.Authenticated():
		return origin.Loopback(), local.NewHosts(c.Listen)
	}
	return nil, nil
}

// connectionsMax is the bound of the connections: as configured, but never more than the descriptor
// limit has room for.
func connectionsMax(cfg *Config) (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("descriptor limit: %w", err)
	}
	reserve := min(lim.Cur/4, descriptorReserveMax)
	room := int(min(lim.Cur-reserve, 1<<30))
	if cfg.ConnectionsMax == 0 {
		return room, nil
	}
	return min(cfg.ConnectionsMax, room), nil
}

// Start binds the listeners and begins to accept. It is called once.
func (g *Gateway) Start() error {
	addr, err := g.engine.Listen(g.current.Load().Listen, g.acceptor())
	if err != nil {
		return err
	}
	g.addr = addr
	g.watchMemory()
	return g.startAdmin()
}

// Addr is the bound address of the WebSocket listener; nil before Start.
func (g *Gateway) Addr() net.Addr { return g.addr }

// AdminAddr is the bound address of the admin listener; nil if there is none, and before Start.
func (g *Gateway) AdminAddr() net.Addr {
	if g.admin == nil {
		return nil
	}
	return g.admin.Addr()
}

// EngineName is the name of the poller engine in use.
func (g *Gateway) EngineName() string { return g.engine.Name() }

// Loops is the number of event loops.
func (g *Gateway) Loops() int { return len(g.lanes) }

// Close ends everything at once: connections, loops, workers, listeners. It returns when nothing of
// the gateway is left running. Further calls do nothing.
func (g *Gateway) Close() (err error) {
	g.closed.Do(func() {
		var errs []error
		g.memory.close()
		if g.admin != nil {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			errs = append(errs, g.admin.Close(ctx))
		}
		if g.adminTLS != nil {
			g.adminTLS.unwatch()
		}
		if g.engine != nil {
			errs = append(errs, g.engine.Close())
		}
		if g.encryption != nil {
			g.encryption.close()
		}
		if g.authority != nil {
			errs = append(errs, g.authority.close())
		}
		if g.workers != nil {
			stuck := g.workers.Close(closeTimeout)
			if errs = append(errs, stuck); stuck == nil {
				g.dissolveDetached()
			}
		}
		if g.audit != nil { // last, after everything that may have something to record
			errs = append(errs, g.audit.Close(auditTimeout))
		}
		err = errors.Join(errs...)
	})
	return err
}
