-- Writes down that a copy of this generation is known to live.
-- ARGV: generation. Answers nothing.
-- A record that Redis rolled back may be older than the copy: its generation is
-- lifted too, or what is released or swept next would count as superseded.
local gen = tonumber(ARGV[1])
if undecided and gen > undecided.conf then
  redis.call('HSET', key, 'conf', int(gen), 'gen', int(math.max(undecided.gen, gen)))
end
return {}
