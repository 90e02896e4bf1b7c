-- Reserves one call of the application, or of a merchant: GCRA, the generic cell rate algorithm.
-- ARGV: token, calls per second or 0 for no limit, 1 for a query or 0, µs for
--       which a grant may be used, µs that a turn may be given ahead.
-- Answers: 'ok' and in how long the turn is, below 0 if it was given before, or
--          'rate' or 'throttled' and how long to wait until one can be given, µs;
--          then the pace, in millionths of a call a second, or 0; then in how many
--          µs the next turn of a refund call is, and how many one call takes, or 0.
-- Members:
--   a:<token>  a reservation out of all calls, by its turn
--   s:<token>  a query's, out of the queries' share, which counts to all as well
--   :all       when all calls that are no longer members would be worked off at
--              the limit's pace
--   :share     the same of the share
--   :pace, :peak, :fell, :grown, :granted, :refused
--              what is learnt from Alipay's refusals: Pace, in Go, says what they
--              mean; throttle.lua writes them too
-- Reservations stay members while their grants may be used, the latest 64 of them, so
-- that the same token gets the same grant again and an undo is exact. Then they are
-- added up.
local token, rate, query, usable = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
local lead = tonumber(ARGV[5])

local state, recent, older, void = {}, {}, {}, {}
local given
local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
for i = 1, #members, 2 do
  local name, at = members[i], tonumber(members[i + 1])
  local age = now - at
  if string.sub(name, 1, 1) == ':' then
    state[name] = at
  elseif age < -lead then
    void[#void + 1] = name -- the clock was set back
  elseif age > usable then
    older[#older + 1] = {name, at}
  else
    if string.sub(name, 3) == token then
      given = at
    end
    recent[#recent + 1] = {name, at}
  end
end

local pace = known(state[':pace'] or 0, state[':fell'] or 0)
local paced = pace > 0 and (rate == 0 or pace < rate * 1000000)

-- One call costs so many µs, a query's out of the share so many: a fifth of all
-- calls are theirs, and one a second, or one a call, where these are fewer.
local cost, shareCost = 0, 1000000
if paced then
  cost = math.ceil(1e12 / pace)
elseif rate > 0 then
  cost = math.ceil(1000000 / rate)
end
if cost > 0 then
  shareCost = math.min(math.max(shareCost, cost), 5 * cost)
end

-- How far ahead the sums can be. One that is further begins anew: the clock was set
-- back, or calls cost less than they did.
local most, mostShare = now + lead + math.floor(lead / 5) + 3 * cost, now + lead + shareCost

-- Adds reservations up, the earliest turn first.
local function add(all, share, reservations)
  for _, r in ipairs(reservations) do
    all = math.max(all, r[2]) + cost
    if string.sub(r[1], 1, 1) == 's' then
      share = math.max(share, r[2]) + shareCost
    end
  end
  return math.min(all, most), math.min(share, mostShare)
end
while #recent >= 64 do
  older[#older + 1] = table.remove(recent, 1)
end
local oldAll, oldShare = state[':all'] or 0, state[':share'] or 0
if oldAll > most then
  oldAll = now
end
if oldShare > mostShare then
  oldShare = now
end
oldAll, oldShare = add(oldAll, oldShare, older)
local all, share = add(oldAll, oldShare, recent)

local shown = pace
if pace > 0 and not paced then
  shown = rate * 1000000
end
local function answer(word, span, all)
  return {word, int(span), int(shown), int(math.max(0, all - now)), int(cost)}
end
if given then
  return answer('ok', given - now, all)
end

local kind = 'a:'
local wait = math.max(0, all - now)
local scarce = wait > 0
if wait > lead and query then
  wait = math.min(wait, math.max(0, share - now))
  kind = 's:'
end
if wait > lead then
  return answer(paced and 'throttled' or 'rate', wait - lead, all)
end
if cost == 0 then
  return {'ok', '0', '0', '0', '0'} -- nothing is limited, so nothing is counted
end

for _, r in ipairs(older) do
  redis.call('ZREM', key, r[1])
end
for _, name in ipairs(void) do
  redis.call('ZREM', key, name)
end
local turn = now + wait
redis.call('ZADD', key, int(oldAll), ':all', int(oldShare), ':share', int(turn), kind .. token)
all, share = add(all, share, {{kind .. token, turn}})
keep(math.max(lead + usable, all - now, share - now))
if pace > 0 then
  if scarce then
    local since = math.min(now - state[':grown'], math.max(1000000, 1e12 / pace))
    local top = (rate > 0 and rate or 10000) * 1000000
    local grown = pace * math.min(4, 1 + growth(pace, state[':peak']) * since / 1000000)
    pace = math.max(floor, math.min(top, math.floor(grown)))
  end
  redis.call('ZADD', key, int(pace), ':pace', int(now), ':grown', int(state[':granted'] + 1), ':granted')
end
return answer('ok', wait, all)
