-- Begins a back-off of the application, unless one runs.
-- ARGV: the shortest back-off, the longest, and how long without one halves the
--       next; µs. Answers nothing.
-- The members are described in rate.lua, which works to them.
local shortest, longest, ease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local back = tonumber(redis.call('ZSCORE', key, ':back') or '0')
local left = tonumber(redis.call('ZSCORE', key, ':until') or '0') - now

if left > 0 and left <= back then
  return {} -- many calls are refused at once; together they count once
end
local length = shortest
if back > 0 and left <= 0 then
  length = math.floor(back * 2 / 2 ^ math.floor(-left / ease))
  length = math.max(shortest, math.min(longest, length))
end
redis.call('ZADD', key, int(length), ':back', int(now + length), ':until')
-- After so many halvings it is as if there had never been one.
local halvings = math.ceil(math.log(2 * length / shortest) / math.log(2))
keep(length + halvings * ease)
return {}
