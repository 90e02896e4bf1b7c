package main

// mistake is one deliberate error: in file, right is replaced by wrong.
type mistake struct {
	name         string
	file         string // from the module's root
	right, wrong string
	asked        []stage // in this order, until one of them fails
}

// stage is tests of a package.
type stage struct {
	packages string
	run      string // as of go test -run
}

// simulation is the stage that is given a number of runs.
const simulation = "./consumer/simulation"

// mistakes are those that people make in services like this one, and those that
// would break one of the rules of consumer/DESIGN.md each.
func mistakes() []mistake {
	simulated := stage{simulation, "TestSimulation$|TestCrash|TestMore"}
	model := []stage{simulated, {"./dedupe/dedupetest", "."}}
	flow := []stage{simulated, {"./consumer", "."}}
	// The same, the tests of what was found outside of the simulation first.
	truth := []stage{simulated, {"./consumer", "TestWorst|TestOneParking|TestParkingSurvives|TestNotAcknowledged|TestDecidedElsewhere|TestUnknownMerchant|TestOldBy"}, flow[1]}
	table := []stage{simulated, {"./alipay", "."}}
	tell := []stage{simulated, {"./producer", "."}}
	redis := []stage{{"./dedupe", "."}} // the simulation has a model of the scripts; see below
	pace := []stage{{simulation, "TestPaceUsesTheLimit/30_"}, {"./dedupe/dedupetest", "."}}
	pauses := []stage{{"./consumer", "TestPause"}, simulated} // the simulation hardly ever brakes right before a call
	gateway := []stage{{"./alipay", "."}}
	health := []stage{{"./consumer", "TestHealth|TestReads|TestTopics|TestRedis|TestPublish"}}
	ready := []stage{{"./cmd/internal/service", "TestReadiness|TestBroker|TestDeaf|TestTopic|TestOneOf|TestMissingGroup"}}
	receive := []stage{{"./notifyhttp", "."}}
	files := []stage{{"./cmd/internal/config", "."}, gateway[0]}
	gbk := []stage{{"./consumer", "TestFaultMenu|TestCouponFaultMenu|TestAnswersInGBK"}, gateway[0]}
	funds := []stage{{"./consumer", "TestFunds|TestQueryOptions|TestWhatAlipayPrints"}}
	commands := []stage{{"./consumer", "TestDecodeCommand"}}
	adapter := []stage{{"./consumer", "TestSt"}}
	return []mistake{
		// R4, R6, R7: ends of a delivery
		{
			"acknowledge before the event is published", "consumer/finish.go",
			"	if err := h.publishAll(ctx, d, e); err != nil {\n		return err\n	}\n",
			"	go func() { _ = h.publishAll(ctx, d, e) }()\n", flow,
		},
		{
			"an unconfirmed publish counts as published", "consumer/patience.go",
			"		h.health.Published(topic, h.needs(topic), err)\n		if err == nil {",
			"		h.health.Published(topic, h.needs(topic), err)\n		if err == nil || topic != \"\" {", flow,
		},
		{
			"SendOK is not demanded", "producer/producer.go",
			"case result.Status != primitive.SendOK:", "case result.Status > 100:", tell,
		},
		{
			"publish before it is settled", "consumer/settle.go",
			"	var s dedupe.Settlement\n	err = h.retryUntilDone(",
			"	if err := h.publishEvent(ctx, c.delivery, encoded); err != nil {\n		return Ending{}\n	}\n	var s dedupe.Settlement\n	err = h.retryUntilDone(", flow,
		},
		{
			"an undecided command is acknowledged without a copy", "consumer/finish.go",
			"	if e.retry != nil {",
			"	if e.retry != nil && e.published == nil {", flow,
		},
		{
			"a copy is confirmed before it is published", "consumer/settle.go",
			"	e.published = c.claim.Published()\n	return e\n}\n\n// freeDelay",
			"	for _, write := range c.claim.Published() {\n		h.bestEffort(\"confirm\", c.delivery, write)\n	}\n	return e\n}\n\n// freeDelay", flow,
		},
		{
			"the copy does not carry the new generation", "consumer/settle.go",
			"	c.retryCopy.Generation = rel.Generation\n	e := retried(",
			"	_ = rel\n	e := retried(", flow,
		},
		{
			"a duplicate of a held refund is dropped", "consumer/claim.go",
			"		return h.retryWhenFree(d, answer.HeldFor)",
			"		return superseded()", flow,
		},
		{
			"a stopping process acknowledges what it lets go", "consumer/settle.go",
			"			_, err = c.claim.Release(ctx, note, c.now())\n		}\n		return err\n	})\n	return Ending{}",
			"			_, err = c.claim.Release(ctx, note, c.now())\n		}\n		return err\n	})\n	return superseded()", flow,
		},
		{
			"the parked message is not stored before the event", "consumer/finish.go",
			"	if e.park != nil {\n",
			"	if e.park != nil && e.Outcome != string(producer.Unresolved) {\n", flow,
		},
		{
			"a message refused for its content is trouble of the broker", "consumer/patience.go",
			"		if errors.Is(err, producer.ErrContent) {\n			h.metrics",
			"		if errors.Is(err, producer.ErrContent) && topic == \"\" {\n			h.metrics", flow,
		},
		{
			"a stub is not parked", "consumer/finish.go",
			"		return h.parkStub(ctx, d, c, producer.StubOf(producer.StubOfCommand, c.Body, d.place()))",
			"		return nil", flow,
		},
		{
			"a stub of a claimed command is rejected", "consumer/handler.go",
			"	d.stays = true\n",
			"	d.stays = true\n	if d.retryCopy.Claimed {\n		return h.rejected(d, producer.ReasonTooLarge, \"the broker refuses it\")\n	}\n", flow,
		},
		{
			"every refusal is one for the content", "producer/producer.go",
			`strings.HasPrefix(err.Error(), "CODE: 13,")`, `strings.HasPrefix(err.Error(), "CODE: ")`, tell,
		},
		// R1: proof
		{
			"a time-out means failed", "consumer/note.go",
			"	switch a.Class {\n	case alipay.ClassNotSent:",
			"	if a.Class == alipay.ClassUnknown {\n		a.Class, a.Signed = alipay.ClassRefused, true\n	}\n	switch a.Class {\n	case alipay.ClassNotSent:", flow,
		},
		{
			"query 10000 is read as success", "consumer/operation.go",
			"		return queryAnswer{Found: foundAbsent, Facts: f}", "		return queryAnswer{Found: foundOurs, Facts: f}", flow,
		},
		{
			"fund_change is not looked at", "consumer/operation.go",
			`Moved: resp.FundChange == "Y"`, `Moved: resp.FundChange != ""`, flow,
		},
		{
			"the amount of the query is not compared", "consumer/operation.go",
			"	case resp.RefundStatus == statusRefundSuccess && *resp.RefundAmount != cmd.Amount:",
			"	case resp.RefundStatus == statusRefundSuccess && *resp.RefundAmount < 0:", flow,
		},
		{
			"the trade of an answer is not compared", "consumer/operation.go",
			"	return !differs(c.TradeNo, tradeNo) && !differs(c.OutTradeNo, outTradeNo)", "	return tradeNo != outTradeNo || c.Amount > 0", flow,
		},
		{
			"one round is enough after any call", "consumer/decide.go",
			"		return n.Round != 0 && n.CallStart >= n.Round+after", "		return n.Round != 0 && after > 0", flow,
		},
		{
			"a code that may mean done is a refusal like any other", "consumer/decide.go",
			"	trusted := r.Signed && !r.QueryFirst", "	trusted := r.Signed", flow,
		},
		{
			"an unsigned refusal is trusted", "consumer/decide.go",
			"	trusted := r.Signed && !r.QueryFirst", "	trusted := !r.QueryFirst", flow,
		},
		{
			"SYSTEM_ERROR is a refusal", "alipay/classify.go",
			`{MethodRefund, codeBusiness, "ACQ.SYSTEM_ERROR", ClassUnknown, false}`, `{MethodRefund, codeBusiness, "ACQ.SYSTEM_ERROR", ClassRefused, false}`, table,
		},
		{
			"a success with a bad signature is believed", "alipay/envelope.go",
			"	return ErrBadSignature\n}\n\n// plain", "	return nil\n}\n\n// plain", gateway,
		},
		{
			"an answer in GBK is thrown away", "alipay/charset.go",
			"	return true, nil", "	return false, errCharset", gbk,
		},
		{
			"half of a character in GBK is taken for a backslash", "alipay/charset.go",
			"	return len(text) > 1 && text[0] > 0x80", "	return len(text) > 1 && text[0] == 0x80", gbk,
		},
		{
			"an answer in GBK is decoded before it is verified", "alipay/envelope.go",
			"	if verified(keys, e.node, e.sign) {", "	if node, _ := utf8Of(e.node); verified(keys, node, e.sign) {", gbk,
		},
		// files of keys
		{
			"an authority's key is pinned as Alipay's", "alipay/cert.go",
			"	if cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign != 0 {", "	if cert.KeyUsage&x509.KeyUsageEncipherOnly != 0 {", files,
		},
		{
			"a damaged PEM block is passed over", "alipay/keyfile.go",
			"			return nil, damaged(n, \"is no whole BEGIN line\")", "			continue", files,
		},
		{
			"a PEM block that is cut is dropped", "alipay/keyfile.go",
			"		return nil, damaged(open.line, \"begins a block that does not end\")", "		return parts, nil", files,
		},
		{
			"text beside PEM blocks is not looked at", "alipay/keyfile.go",
			"		if !isBlock(p) && (!comments || looksLikeKey(p.text)) {", "		if !isBlock(p) && p.text == \"\" {", files,
		},
		{
			"a bare key beside PEM blocks is dropped", "alipay/keyfile.go",
			"		for field := range strings.FieldsSeq(p.text) {", "		for field := range strings.FieldsSeq(p.text[min(len(ders), 1)*len(p.text):]) {", files,
		},
		{
			"what is left over of a key file is ignored", "alipay/keyfile.go",
			"	return nil, leftOver(bare.line)\n}", "	return ders, nil\n}", files,
		},
		{
			"the second line of a password file is ignored", "cmd/internal/config/secrets.go",
			"		case found != \"\":\n			return \"\", fmt", "		case found != \"\" && i < 0:\n			return \"\", fmt", files,
		},
		{
			"what follows the merchants' object is ignored", "cmd/internal/config/merchants.go",
			"!errors.Is(more, io.EOF) {", "more != nil && !errors.Is(more, io.EOF) {", files,
		},
		// what the simulation found in this code, once more
		{
			"found: a query shows what is true when it is answered", "consumer/work.go",
			"afterQuery(a, start, c.latest())", "afterQuery(a, c.latest(), c.latest())", flow,
		},
		{
			"found: two unsigned refusals are enough at once", "consumer/decide.go",
			"	case !r.Signed && n.LastQuery < r.At+after:", "	case !r.Signed && n.LastQuery < r.At:", flow,
		},
		{
			"found: a call begins after the signal", "consumer/work.go",
			"			if h.gate.Stopping() { // asking", "			if h.gate.Stopping() && c.worked && !c.worked { // asking", flow,
		},
		{
			"found: nobody knows for whom a crashed claim called", "consumer/claim.go",
			"		c.note.Authorised = cmp.Or(c.note.Authorised, c.claim.LapsedAuthorisation)", "		c.note.Authorised = cmp.Or(c.note.Authorised, \"\")", flow,
		},
		{
			"found: a decided command is rejected where its merchant is missing", "consumer/unread.go",
			"		ours = rec.Fingerprint == d.fingerprint", "		ours = rec.HeldFor < 0", truth,
		},
		// of versions, files, clocks and parkings
		{
			"found: what the age decided is kept in memory only", "consumer/claim.go",
			"QueryOnly: h.tooOld(d.retryCopy.Born)}\n	stored, err := fresh.encode()", "}\n	stored, err := fresh.encode()\n	fresh.QueryOnly = h.tooOld(d.retryCopy.Born)", flow,
		},
		{
			"found: the age counts from a producer's clock that is ahead", "consumer/delivery.go",
			"	if !d.Stored.IsZero() && (", "	if d.Stored.IsZero() && (", flow,
		},
		{
			"found: the claim does not say for whom it is", "consumer/claim.go",
			"		Authorisation: authorisation(m),\n", "", flow,
		},
		{
			"found: what an older version cannot read is rejected", "consumer/unread.go",
			"	case ours && !h.aged(d):\n",
			"	case ours && len(d.Body) == 0:\n", flow,
		},
		{
			"found: who finds it held enters nothing in the index", "consumer/ending.go",
			"	e := retried(d, producer.ReasonHeld, heldFor).entered(heldFor)\n",
			"	e := retried(d, producer.ReasonHeld, heldFor)\n", flow,
		},
		{
			"found: acknowledged before it is released", "consumer/patience.go",
			"	return h.retryFor(ctx, d, op, math.MaxInt64, act)",
			"	_ = h.retryFor(ctx, d, op, min(h.cfg.Patience, math.MaxInt64), act)\n	return nil", truth,
		},
		{
			"found: a copy of before the parking is worked on", "consumer/claim.go",
			"	return c.claim.Parked && c.retryCopy.Park < c.note.Park && (", "	return c.claim.Parked && c.retryCopy.Park > c.note.Park && (", truth,
		},
		{
			"found: a limit that others met hides an unknown outcome", "consumer/decide.go",
			"	if gravity(known) > gravity(why) {\n", "	if gravity(known) > 100+gravity(why) {\n", truth,
		},
		{
			"found: a clock that was set back is waited for", "consumer/note.go",
			"		*at = min(*at, now.UnixMilli())\n", "		*at = max(*at, 0*now.UnixMilli())\n", flow,
		},
		{
			"model: a lease is as long as the clock was set back", "dedupe/dedupetest/record.go",
			"return min(r.Until, now+r.Lease)", "return r.Until", append(model, stage{"./dedupe", "TestModel"}),
		},
		{
			"script: a lease is as long as the clock was set back", "dedupe/record.lua",
			"if f[13] and undecided.till", "if not f[13] and undecided.till", redis,
		},
		{
			"publish one's own bytes where the record says already decided", "consumer/settle.go",
			"		if encoded, err = producer.DecodeEncoded(s.Event); err != nil {",
			"		if _, err = producer.DecodeEncoded(s.Event); err != nil {", truth,
		},
		{
			"an event has v2's code whatever the protocol", "consumer/operation.go",
			"				Code: resp.Code, TraceID: resp.TraceID, TradeNo: resp.TradeNo,", "				Code: \"10000\", TraceID: resp.TraceID, TradeNo: resp.TradeNo,",
			[]stage{{"./consumer", "TestAlipayCode"}},
		},
		{
			"nobody says why Alipay is out of reach", "consumer/operation.go",
			"QueryFirst: e.QueryFirst, Facts: errorFacts(e), Err: err}", "QueryFirst: e.QueryFirst, Facts: errorFacts(e)}",
			[]stage{{"./consumer", "TestTheLogSays"}},
		},
		{
			"every call says why Alipay is out of reach", "consumer/causes.go",
			"	c.seen[cause] = now\n", "	c.seen[cause] = now.Add(-c.every)\n",
			[]stage{{"./consumer", "TestTheLogSays|TestCauses"}},
		},
		// R2, R3: replay
		{
			"a new number on every call", "consumer/operation.go",
			"			req := cmd.Refund\n", "			req := cmd.Refund\n			req.OutRequestNo += time.Now().Format(\"150405.000\")\n", flow,
		},
		{
			"repeated without asking", "consumer/decide.go",
			"	case n.LastQuery == 0:\n		return decision{Do: actQuery}", "	case n.LastQuery == 0:\n		return replay(n, s, wait)", flow,
		},
		{
			"absent is believed at once", "consumer/decide.go",
			"	return s.Now.UnixMilli() >= since+s.QueryAfter.Milliseconds()", "	return s.Now.UnixMilli() >= since", flow,
		},
		{
			"another authorisation judges an earlier call", "consumer/decide.go",
			`	case n.Authorised != s.Authorised && n.Authorised != "":`, `	case n.Authorised != s.Authorised && n.Authorised == "nobody":`, flow,
		},
		{
			"a claim that lapsed is no call in flight", "consumer/claim.go",
			"	if c.claim.Lapses > 0 {", "	if c.claim.Lapses > 1000 {", flow,
		},
		// R5, R10: the record
		{
			"no fingerprint", "consumer/claim.go",
			"	d.fingerprint = d.cmd.Fingerprint()\n	fresh",
			"	d.fingerprint = string(d.kind)\n	fresh", flow,
		},
		{
			"a failure is settled without the token", "dedupe/settle.lua",
			"if undecided and undecided.tok == token and not undecided.lost then", "if undecided and not undecided.lost then", redis,
		},
		{
			"a release without the token", "dedupe/release.lua",
			"if r and r.tok == token then", "if r and r.tok then", redis,
		},
		{
			"what is decided is decided again", "dedupe/settle.lua",
			"  if succeeded and not decided.succeeded then", "  if succeeded ~= decided.succeeded then", redis,
		},
		{
			"the newest copy counts as superseded", "dedupe/claim.lua",
			"  if gen < r.conf then", "  if gen <= r.conf and r.conf > 0 then", redis,
		},
		{
			"a copy newer than its record tells nothing", "dedupe/claim.lua",
			"if gen > r.gen then", "if gen > r.gen + 1000 then", redis,
		},
		{
			"a failure is settled by one who does not know what Redis forgot", "dedupe/settle.lua",
			" and not undecided.lost then", " then", redis,
		},
		{
			"undecided records expire", "dedupe/release.lua",
			"  redis.call('PERSIST', key)", "  redis.call('PEXPIRE', key, 3600000)", redis,
		},
		{
			"what was rejected is claimed", "dedupe/claim.lua",
			"if why ~= '' and ARGV[8] == '0' then", "if why == 'never' then", redis,
		},
		// the same in the model of the scripts that the simulation runs on
		{
			"model: what was rejected is claimed", "dedupe/dedupetest/record.go",
			"	case reason != \"\" && !req.Claimed:", "	case reason == \"never\" && !req.Claimed:", model,
		},
		{
			"model: a failure is settled without the token", "dedupe/dedupetest/record.go",
			"	case !succeeded && (!r.Exists || r.Token != token || r.Lost):", "	case !succeeded && (!r.Exists || r.Lost):", model,
		},
		{
			"model: a release without the token", "dedupe/dedupetest/record.go",
			"	case r.Exists && r.Token == token:\n		r.Generation++", "	case r.Exists:\n		r.Generation++", model,
		},
		{
			"model: a claim does not look at the lease", "dedupe/dedupetest/record.go",
			`	case !mine && r.Token != "" && until > now:`, `	case !mine && r.Token != "" && until > now+lease.Milliseconds():`, model,
		},
		{
			"model: the newest copy counts as superseded", "dedupe/dedupetest/record.go",
			"	case !mine && generation < r.Confirmed:", "	case !mine && generation <= r.Confirmed && r.Confirmed > 0:", model,
		},
		{
			"model: a copy newer than its record tells nothing", "dedupe/dedupetest/record.go",
			"	if generation > r.Generation {\n		r.Lost, r.LostAt = true, now\n	}\n	if r.Lost {", "	if r.Lost {", model,
		},
		{
			"model: lapses are forgotten", "dedupe/dedupetest/record.go",
			"	r.Lapses++\n", "", model,
		},
		{
			"a contradiction is kept quiet", "consumer/settle.go",
			"	if s.Contradiction {",
			"	if s.Contradiction && s.Event == nil {", flow,
		},
		{
			"what Redis forgot is called as if it were new", "consumer/claim.go",
			"		c.note.unknownCall(c.claim.Now.Add(h.cfg.Lease))\n", "", flow,
		},
		{
			"a message older than KEEP is executed", "consumer/delivery.go",
			"	return time.Since(born) > h.cfg.Keep", "	return time.Since(born) > 1000*h.cfg.Keep", flow,
		},
		{
			"an entry leaves the index before its event is out", "consumer/finish.go",
			"	if err := h.publishAll(ctx, d, e); err != nil {\n",
			"	for _, write := range e.published {\n		h.bestEffort(\"mark what is published\", d, write)\n	}\n	if err := h.publishAll(ctx, d, e); err != nil {\n", flow,
		},
		{
			"the sweeper drops what was decided and never told", "dedupe/sweeper.go",
			"	case !r.Exists:\n", "	case !r.Exists, r.Decided:\n",
			[]stage{simulated, redis[0]},
		},
		{
			"the sweeper takes it that the person of a parked command was told", "dedupe/sweeper.go",
			"	case u.Parked && r.Parked:\n", "	case r.Parked:\n",
			[]stage{simulated, redis[0]},
		},
		{
			"what was told stays in the index", "dedupe/claim.go",
			"return c.store.MarkPublished(ctx, c.Refund, stored) }",
			"_ = stored; return nil }", flow,
		},
		// R11: a stop ends
		{
			"the shutdown of the client has no deadline", "consumer/drain.go",
			"	ctx, cancel := context.WithTimeout(ctx, closeTime)\n", "	ctx, cancel := context.WithCancel(context.Background())\n", adapter,
		},
		{
			"the gate opens before the client is shut down", "consumer/drain.go",
			"	case <-ctx.Done():\n		c.log.WithField(\"part\"", "	case <-ctx.Done():\n		c.gate.Open()\n		c.log.WithField(\"part\"", adapter,
		},
		{
			"a stop waits for a start that hangs", "consumer/rocketmq.go",
			"		case <-c.gate.stopping:\n			return c.abandon(", "		case <-context.Background().Done():\n			return c.abandon(", adapter,
		},
		{
			"the consumer's lock is held while the client resumes", "consumer/drain.go",
			"	sdk := c.running()\n	switch {\n	case sdk == nil || c.gate.Stopping():\n",
			"	sdk := c.running()\n	c.mu.Lock()\n	defer c.mu.Unlock()\n	switch {\n	case sdk == nil || c.gate.Stopping():\n", adapter,
		},
		{
			"a stop that hangs where nobody expects it has no deadline", "cmd/internal/service/service.go",
			"	case <-overdue.C:\n", "	case <-(<-chan time.Time)(nil):\n",
			[]stage{{"./cmd/internal/service", "TestStopIsBounded"}},
		},
		// R8, R9
		{
			"a call begins although it does not fit the lease", "consumer/work.go",
			"	return left >= h.cfg.AlipayTimeout+min(callMargin, h.cfg.Lease/10)", "	return left > 0", flow,
		},
		{
			"a claimed command is rejected when it cannot be read", "consumer/unread.go",
			"	case ours || d.retryCopy.Claimed:\n",
			"	case ours && len(d.Body) == 0:\n", flow,
		},
		{
			"a claimed command is rejected as a conflict", "consumer/claim.go",
			"	case dedupe.Conflict:\n		if d.retryCopy.Claimed {", "	case dedupe.Conflict:\n		if d.retryCopy.Claimed && d.cmd.Amount == 0 {", flow,
		},
		// R12: health
		{
			"a ping counts as works", "dedupe/probe.go",
			"	_, err := readReply(s.scripts.probe.Run(ctx, s.client, []string{key}, string(NewToken()), probeKeep.Milliseconds()))",
			"	err := s.client.Ping(ctx).Err()", redis,
		},
		{
			"the probe only reads", "dedupe/probe.lua",
			"redis.call('HSET', KEYS[1], 'tok', ARGV[1])\nredis.call('PEXPIRE', KEYS[1], ARGV[2])\n", "redis.call('HGET', KEYS[1], 'tok')\n", redis,
		},
		{
			"what only read counts as works", "consumer/patience.go",
			"			if op == \"settle\" || op == \"release\" {", "			if op != \"\" {", health,
		},
		{
			"one master of a cluster is enough", "dedupe/probe.go",
			"	for n := 0; len(keys) < len(wanted) &&", "	for n := 0; len(keys) < 1 &&", redis,
		},
		{
			"a master that is down is nobody's trouble", "consumer/health.go",
			"	h.Found(PartRedis, findings)", "	h.Found(PartRedis, nil)", health,
		},
		{
			"a master that is down is everybody's trouble", "consumer/health.go",
			"	if len(errs) >= len(masters) {", "	if len(errs) > 0 {", health,
		},
		{
			"a topic's trouble is everybody's", "consumer/health.go",
			"of: \"topic \" + topic}", "of: \"topic\"}", health,
		},
		{
			"what was refused once suspends intake", "consumer/health.go",
			"failing && time.Since(f.since) >= troubleAfter {", "failing {", health,
		},
		{
			"a deaf instance is ready", "cmd/internal/service/probe.go",
			"what: \"group \" + p.group, grade: consumer.Unready}", "what: \"group \" + p.group}", ready,
		},
		{
			"one of two brokers is not enough", "cmd/internal/service/probe.go",
			"	if v.works == 0 {", "	if len(v.refused) > 0 {", ready,
		},
		// pauses and Alipay's limit
		{
			"the brake is not asked again before the call", "consumer/work.go",
			"			if d.Do == actCall && h.paused(c.delivery) { // and so", "			if d.Do == actCall && c.kind == \"\" { // and so", pauses,
		},
		{
			"a paused command is claimed", "consumer/handler.go",
			"	paused := func() bool { return !claimed && h.paused(d) }",
			"	paused := func() bool { return false }", pauses,
		},
		{
			"the pace never falls", "dedupe/throttle.lua",
			"return fall(math.max(floor, math.floor(peak * 0.95)), math.max(floor, peak))", "return fall(pace, peak)", redis,
		},
		{
			"the pace never rises", "dedupe/rate.lua",
			"    local grown = pace * math.min(4, 1 + growth(pace, state[':peak']) * since / 1000000)", "    local grown = pace", redis,
		},
		{
			"queries are as many as ever while all calls are refused", "dedupe/rate.lua",
			"math.min(math.max(shareCost, cost), 5 * cost)", "math.min(shareCost, 5 * cost)", redis,
		},
		{
			"model: the pace never falls", "dedupe/pace.go",
			"	*p = Pace{Rate: max(paceFloor, int64(float64(peak)*0.95)), Peak", "	*p = Pace{Rate: p.Rate, Peak", pace,
		},
		{
			"model: the pace never rises", "dedupe/pace.go",
			"		p.Rate = max(paceFloor, min(top, int64(grown)))", "		p.Rate = max(paceFloor, min(top, p.Rate+min(0, int64(grown))))", pace,
		},
		// events and notifications
		{
			"the id of an event depends on more than the fact", "consumer/event.go",
			"	ev.ID = producer.DecidedID(h.eventIdentity(c.cmd), c.cmd.Trade(), int64(c.cmd.Amount), outcome)",
			"	ev.ID = producer.DecidedID(h.eventIdentity(c.cmd), c.retryCopy.MsgID, int64(c.cmd.Amount), outcome)", flow,
		},
		{
			"a refund has another key at every parking", "consumer/event.go",
			"	ev.ID = producer.UnresolvedID(h.eventIdentity(cmd), parked.Park)",
			"	ev.ID = producer.UnresolvedID(h.eventIdentity(cmd), parked.Park)\n	ev.RefundKey = ev.ID", flow,
		},
		{
			"what cannot be read of the funds makes a success unknown", "alipay/decode.go",
			"		case f.weight == fundWeight:", "		case f.weight > detailWeight:", funds,
		},
		{
			"null counts as sent", "consumer/members.go",
			"		case d.next() == 'n' && ", "		case d.next() == 'N' && ", commands,
		},
		{
			"the funds of an answer that proves nothing are told", "consumer/operation.go",
			"			if a.Moved {\n", "			if a.Class == alipay.ClassOK {\n", funds,
		},
		{
			"a query does not ask when the money moved", "consumer/operation.go",
			"known(append([]string{askRefundedAt}, options...), ", "known(options, ", funds,
		},
		{
			"success is answered although nothing was published", "notifyhttp/notifyhttp.go",
			"		return fmt.Errorf(\"%w: %w\", errUnpublished, err)", "		_ = fmt.Sprint(err)\n		return nil", receive,
		},
		{
			"a slow sender takes the place of another", "notifyhttp/notifyhttp.go",
			"	body, err := h.read(w, r) // slow senders take nobody's place\n",
			"	select {\n	case h.slots <- struct{}{}:\n		defer func() { <-h.slots }()\n	default:\n		refuseUnread(w, Busy.status())\n		return\n	}\n	body, err := h.read(w, r)\n", receive,
		},
		{
			"a notification that comes over and over is published each time", "notifyhttp/notifyhttp.go",
			"	case h.memory.knows(v.event.Body):", "	case h.memory.knows(nil):", receive,
		},
		{
			"a notification whose publication failed is remembered", "notifyhttp/notifyhttp.go",
			"		if err = h.publish(r.Context(), *v.event); err == nil {", "		if err = h.publish(r.Context(), *v.event); errors.Is(err, err) {", receive,
		},
		{
			"a notification's signature is not looked at", "alipay/notification.go",
			"	return \"\", fmt.Errorf(\"%w: changed on its way", "	if len(v.keys) > 0 {\n		return \"v2\", nil\n	}\n	return \"\", fmt.Errorf(\"%w: changed on its way", gateway,
		},
	}
}
