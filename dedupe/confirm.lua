-- Writes down that a copy of this generation is known to live.
-- ARGV: generation. Answers nothing.
-- A record that Redis rolled back may be older than the copy: its generation is
-- lifted too, or what is released or swept next would count as superseded. So it is
-- written down that something was lost, because the next claim cannot see it any more.
local gen = tonumber(ARGV[1])
if undecided and gen > undecided.conf then
  if gen > undecided.gen then
    redis.call('HSET', key, 'lost', int(now))
  end
  redis.call('HSET', key, 'conf', int(gen), 'gen', int(math.max(undecided.gen, gen)))
end
return {}
