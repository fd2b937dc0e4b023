package gateway

import (
	"sluice/gateway/hub"
	"sluice/gateway/wire"
)

// compression is the session's share of permessage-deflate.
type compression struct {
	on bool
}

func (c *compression) negotiate(*session, *wire.Request) (extensions string, err error) {
	return "", nil
}

func (c *compression) encoding() uint8 { return hub.Plain }

func (c *compression) release() {}
