-- Learns that Alipay refused a call of the application or a merchant as one too many.
-- ARGV: µs since the call's turn was asked for, the pace that the answer named, the
--       highest pace in calls per second. Answers the pace.
-- The members are described in rate.lua.
local asked, given, top = now - tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) * 1000000
local first, settle = 10000000, 1000000

local function score(name)
  return tonumber(redis.call('ZSCORE', key, name) or '0')
end
local function fall(pace, peak)
  redis.call('ZADD', key, int(pace), ':pace', int(peak), ':peak', int(now), ':fell', int(now), ':grown', '0', ':granted', '0', ':refused')
  keep(memory)
  return {int(pace)}
end

local pace, fell = score(':pace'), score(':fell')
pace = known(pace, fell)
if pace == 0 then
  -- What is on its way already is as much as Alipay takes for a while.
  redis.call('ZADD', key, int(math.max(score(':all'), now + 400000)), ':all')
  return fall(math.max(floor, math.min(top, first)), 0)
end
if asked <= fell then
  return {int(pace)}
end
local refused, granted, peak = score(':refused') + 1, score(':granted'), score(':peak')
if now - fell < settle then
  redis.call('ZADD', key, int(refused), ':refused')
  return {int(pace)}
end
if given == 0 or given > pace then
  given = pace
end
local share = (refused - 1) / math.max(1, granted)
if refused >= granted then
  share = math.max(share, 0.5) -- nothing was let through
end
local through = given
if share > 0.2 then
  through = through * (1 - math.min(share, 0.9))
elseif peak == 0 or through / peak > 1.1 then
  through = through * 0.85 -- found while rising fast: it is beyond the limit by far
end
peak = math.floor(through)
return fall(math.max(floor, math.floor(peak * 0.95)), math.max(floor, peak))
