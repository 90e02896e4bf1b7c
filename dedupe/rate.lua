-- Reserves one call of the application: GCRA, the generic cell rate algorithm.
-- ARGV: token, calls per second or 0 for no limit, 1 for a query or 0, µs for
--       which a grant may be used.
-- Answers: 'ok' and how old the grant is, or 'rate' or 'throttled' and how long
--          to wait; µs.
-- Members:
--   a:<token>  a reservation out of all calls
--   s:<token>  a query's, out of the queries' share, which counts to all as well
--   :all       when all calls that are no longer members would be worked off at
--              the limit's pace
--   :share     the same of the share
--   :back      how long the newest back-off lasts; written by throttle.lua
--   :until     when it ends; so is this
-- Reservations stay members while their grants may be used, so that the same
-- token gets the same grant again and an undo is exact. Then they are added up.
local token, rate, query, usable = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])

-- One call costs so many µs; so many calls may come at once.
local cost, burst, shareCost = 0, 1, 1000000
if rate > 0 then
  cost = math.ceil(1000000 / rate)
  burst = math.max(1, math.floor(rate / 10))
  shareCost = math.min(shareCost, 5 * cost)
end
local shareBurst = math.max(1, math.floor(burst / 5))

local state, recent, older = {}, {}, {}
local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
for i = 1, #members, 2 do
  local name, at = members[i], tonumber(members[i + 1])
  local age = now - at
  if string.sub(name, 1, 1) == ':' then
    state[name] = at
  elseif age < 0 or age > usable then
    older[#older + 1] = {name, at}
  elseif string.sub(name, 3) == token then
    return {'ok', int(age)}
  else
    recent[#recent + 1] = {name, at}
  end
end

-- Adds reservations up, oldest first. Neither sum can be further ahead than
-- this, unless the clock was set back or the rate was raised.
local function add(all, share, reservations)
  for _, r in ipairs(reservations) do
    all = math.max(all, r[2]) + cost
    if string.sub(r[1], 1, 1) == 's' then
      share = math.max(share, r[2]) + shareCost
    end
  end
  return math.min(all, now + (burst + shareBurst) * cost), math.min(share, now + shareBurst * shareCost)
end
local oldAll, oldShare = add(state[':all'] or 0, state[':share'] or 0, older)
local all, share = add(oldAll, oldShare, recent)

local reason, kind = 'rate', 'a:'
local wait = math.max(0, all + cost - burst * cost - now)
local pause = (state[':until'] or 0) - now
-- A back-off that has more left than it lasts: the clock was set back.
if pause > 0 and pause <= (state[':back'] or 0) then
  reason, wait = 'throttled', math.max(wait, pause)
end
if wait > 0 and query then
  wait = math.min(wait, math.max(0, share + shareCost - shareBurst * shareCost - now))
  kind = 's:'
end
if wait > 0 then
  return {reason, int(wait)}
end
if rate == 0 and kind == 'a:' then
  return {'ok', '0'} -- nothing is limited, so nothing is counted
end

for _, r in ipairs(older) do
  redis.call('ZREM', key, r[1])
end
redis.call('ZADD', key, int(oldAll), ':all', int(oldShare), ':share', int(now), kind .. token)
all, share = add(all, share, {{kind .. token, now}})
keep(math.max(usable, all - now, share - now))
return {'ok', '0'}
