-- What both scripts on an application's limit know of its pace; Pace, in Go, says
-- what it means. It is put before them, behind limit.lua.
local floor, memory = 16667, 600000000

-- The pace, or 0 if there is none or it is forgotten by now.
local function known(pace, fell)
  if now < fell or now - fell >= memory then
    return 0
  end
  return pace
end

-- By what part the pace rises in a second.
local function growth(pace, peak)
  if peak == 0 then
    return 0.5
  end
  local x = pace / peak
  if x < 0.9 then
    return 0.3
  elseif x < 1.05 then
    return 0.02
  end
  return math.min(0.5, 0.02 + (x - 1.05) * 4)
end
