-- Reserves the next call on one trade.
-- ARGV: token, µs between calls, µs for which a grant may be used.
-- Answers: 'ok' and in how long the turn is, which is 0 or, if it was given
--          before, below 0; or 'spacing' and how long to wait; µs.
-- The only member is the last reservation: its token, when it was granted.
local token, spacing, usable = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- The call of a grant may begin as late as the grant may be used.
local gap = usable + spacing

local last = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
if last[1] then
  local age = now - tonumber(last[2])
  if last[1] == token and age >= 0 and age <= usable then
    return {'ok', int(-age)}
  end
  -- From further in the future than a gap: the clock was set back, start anew.
  if age < gap and age >= -gap then
    return {'spacing', int(gap - age)}
  end
end
redis.call('DEL', key)
redis.call('ZADD', key, int(now), token)
keep(gap)
return {'ok', '0'}
