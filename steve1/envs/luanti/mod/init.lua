-- steve_bridge: the game's side of the environment. Every server step it publishes the player's state as JSON
-- through the preloaded shim (LuaJIT's ffi) and carries out at most one command. Angles are degrees: yaw clockwise
-- from +z, pitch positive downwards. Where the shim is not loaded, files in the world folder take its place.
local PLAYER, EYE, REACH = "singleplayer", 1.47, 4
local world = minetest.get_worldpath()
local insecure = minetest.request_insecure_environment()
local ok, ffi = pcall(insecure.require, "ffi")
local shim = false
if ok then
    ffi.cdef [[
        int steve_publish(double dtime, const char *json, int length);
        int steve_fetch(char *buffer, int size);
    ]]
    shim = pcall(function() return ffi.C.steve_fetch(ffi.cast("char *", 0), 0) end)
end

local state = {tick = 0, dug = {}, placed = {}, crafted = {}, deaths = 0, done = 0}
local watch = {}        -- what players' eyes are for: groups of nodes to list around the player
local blocks = {}       -- what the player placed (own) or a scene put there: {x, y, z, own}, by place
local commands = {}

local function count(counts, name, n) counts[name] = (counts[name] or 0) + (n or 1) end
local function me() return minetest.get_player_by_name(PLAYER) end
local function node_name(x, y, z) return minetest.get_node({x = x, y = y, z = z}).name end
local function is_liquid(name)
    local def = minetest.registered_nodes[name]
    return def ~= nil and def.liquidtype ~= "none"
end
local function is_solid(name)
    local def = minetest.registered_nodes[name]
    return def ~= nil and def.walkable and name ~= "ignore"
end

local function place_key(p) return p.x .. " " .. p.y .. " " .. p.z end

minetest.register_on_dignode(function(pos, node, digger)
    blocks[place_key(pos)] = nil
    if digger then count(state.dug, node.name) end
end)
minetest.register_on_placenode(function(pos, node, placer)
    if not placer then return end
    count(state.placed, node.name)
    blocks[place_key(pos)] = {pos.x, pos.y, pos.z, own = true}
end)
minetest.register_on_craft(function(stack) count(state.crafted, stack:get_name(), stack:get_count()) end)
minetest.register_on_joinplayer(function(player)
    minetest.set_player_privs(PLAYER, {interact = true, shout = true})
    player:hud_set_flags({minimap = false})
    player:hud_set_hotbar_itemcount(8)
end)
-- Death would open a form that only a click can close. The episode ends with one point left instead.
minetest.register_on_player_hpchange(function(player, change)
    if player:get_hp() + change > 0 then return change end
    state.deaths = state.deaths + 1
    return 1 - player:get_hp()
end, true)

local function settle(player, c)
    player:add_velocity(vector.multiply(player:get_velocity(), -1))
    player:set_physics_override({speed = 1, jump = 1, gravity = 1})
    player:set_pos({x = c.x, y = c.y, z = c.z})
    player:set_look_horizontal(-math.rad(c.yaw or 0))
    player:set_look_vertical(math.rad(c.pitch or 0))
end

-- The ground of a column: the y of the highest walkable node that is no part of a tree, or of water (and which).
local function ground(x, z, from, to)
    for y = from, to, -1 do
        local name = node_name(x, y, z)
        if is_liquid(name) then return y, name, true end
        if is_solid(name) and minetest.get_item_group(name, "leaves") == 0 and minetest.get_item_group(name, "tree") == 0
            then return y, name, false end
    end
end

-- The earth of a column, whatever grows on it.
local function earth(x, z, around)
    for y = around + 6, around - 8, -1 do
        local name = node_name(x, y, z)
        for _, group in ipairs({"soil", "sand", "stone"}) do
            if minetest.get_item_group(name, group) > 0 then return y end
        end
    end
    return around - 1
end

-- Puts a scene's nodes onto the earth of their columns ("up" nodes above it). What grows there and beside it gives way.
local function set_scene(c)
    local around = math.floor(c.y)
    for _, n in ipairs(c.scene or {}) do
        for _, side in ipairs({{0, 0}, {1, 0}, {-1, 0}, {0, 1}, {0, -1}}) do
            local x, z = n.x + side[1], n.z + side[2]
            local y = earth(x, z, around)
            for up = 1, 2 do
                if not is_liquid(node_name(x, y + up, z)) then minetest.remove_node({x = x, y = y + up, z = z}) end
            end
        end
    end
    for _, n in ipairs(c.scene or {}) do
        local pos = {x = n.x, y = earth(n.x, n.z, around) + 1 + (n.up or 0), z = n.z}
        minetest.set_node(pos, {name = n.name, param2 = n.param2 or 0})
        blocks[place_key(pos)] = {pos.x, pos.y, pos.z}
    end
end

function commands.reset(c)
    local player = me()
    local inventory = player:get_inventory()
    for _, list in ipairs({"main", "craft", "craftpreview", "craftresult"}) do inventory:set_list(list, {}) end
    for _, item in ipairs(c.items or {}) do inventory:add_item("main", item) end
    player:set_hp(20)
    player:set_breath(10)
    state.dug, state.placed, state.crafted, state.deaths = {}, {}, {}, 0
    blocks = {}
    minetest.set_timeofday(c.time or 0.5)
    math.randomseed(c.seed or 0)
    local low, high = {x = c.x - 40, y = c.y - 24, z = c.z - 40}, {x = c.x + 40, y = c.y + 32, z = c.z + 40}
    if c.regenerate then minetest.delete_area(low, high) end
    settle(player, c)
    minetest.emerge_area(low, high, function(_, _, left)
        if left > 0 then return end
        for _, object in ipairs(minetest.get_objects_inside_radius({x = c.x, y = c.y, z = c.z}, 120)) do
            if not object:is_player() then object:remove() end
        end
        set_scene(c)
        settle(player, c)
        state.done = c.id
    end)
end

function commands.watch(c) watch = c.groups or {}; state.near = {}; state.done = c.id end
function commands.set_nodes(c)
    for _, n in ipairs(c.nodes) do minetest.set_node(n.pos, {name = n.name}) end
    state.done = c.id
end

-- ---- the search for start places ----

-- Cheap look at a place that is not generated yet.
function commands.biomes(c)
    local found = {}
    for _, p in ipairs(c.points) do
        local y = minetest.get_spawn_level(p[1], p[2])
        local data = y and minetest.get_biome_data({x = p[1], y = y, z = p[2]})
        found[#found + 1] = data and {p[1], y, p[2], minetest.get_biome_name(data.biome)} or nil
    end
    state.found = found
    state.done = c.id
end

-- Generates the biome of (x, y, z) and tells each column's height, top node, grass above and trunks.
function commands.survey(c)
    local low, high = {x = c.x - c.r, y = c.y - 20, z = c.z - c.r}, {x = c.x + c.r, y = c.y + 28, z = c.z + c.r}
    minetest.emerge_area(low, high, function(_, _, left)
        if left > 0 then return end
        local rows = {}
        for z = low.z, high.z do
            for x = low.x, high.x do
                local y, name, wet = ground(x, z, high.y, low.y)
                local above = y and node_name(x, y + 1, z) or ""
                local kind = "."                                           -- other ground
                if not y then kind = "?"
                elseif wet then kind = is_liquid(node_name(x, y - 1, z)) and "W" or "w"   -- deep, shallow
                elseif minetest.get_item_group(above, "tree") > 0 then kind = "T"
                elseif is_solid(above) then kind = "#"
                elseif above:find("default:grass_") then kind = "g"
                elseif name == "default:dirt_with_grass" then kind = "d" end
                rows[#rows + 1] = kind .. (y or 0)
            end
        end
        state.found = {table.concat(rows, " ")}
        state.done = c.id
    end)
end

-- ---- every server step ----

local function look_around(player)
    local pos = vector.round(player:get_pos())
    local near = {}
    for name, area in pairs(watch) do
        local low = {x = pos.x - area.r, y = pos.y + area.low, z = pos.z - area.r}
        local high = {x = pos.x + area.r, y = pos.y + area.high, z = pos.z + area.r}
        local list = {}
        for _, p in ipairs(minetest.find_nodes_in_area(low, high, area.nodes)) do
            if #list < 600 then list[#list + 1] = {p.x, p.y, p.z} end
        end
        near[name] = list
    end
    state.near = near
end

-- What stands now where the player or the scene put something, under the name that it has now: a lamp that was lit has another.
local function standing()
    local built, scene = {}, {}
    for key, b in pairs(blocks) do
        local name = node_name(b[1], b[2], b[3])
        local list = b.own and built or scene
        if name == "air" then blocks[key] = nil
        elseif #list < 200 then list[#list + 1] = {b[1], b[2], b[3], name} end
    end
    state.built, state.scene = built, scene
end

-- The name of the node in the crosshair within a hand's reach; "" where there is none.
local function pointed(player, pos)
    local eye = {x = pos.x, y = pos.y + EYE, z = pos.z}
    local ray = minetest.raycast(eye, vector.add(eye, vector.multiply(player:get_look_dir(), REACH)), false, false)
    for thing in ray do
        if thing.type == "node" then return node_name(thing.under.x, thing.under.y, thing.under.z) end
    end
    return ""
end

local function describe(player)
    local items = {}
    for _, stack in ipairs(player:get_inventory():get_list("main")) do
        if not stack:is_empty() then count(items, stack:get_name(), stack:get_count()) end
    end
    local pos, velocity = player:get_pos(), player:get_velocity()
    local feet, eye = node_name(pos.x, pos.y + 0.1, pos.z), node_name(pos.x, pos.y + EYE, pos.z)
    state.items, state.pos, state.velocity = items, {pos.x, pos.y, pos.z}, {velocity.x, velocity.y, velocity.z}
    state.yaw, state.pitch = -math.deg(player:get_look_horizontal()), math.deg(player:get_look_vertical())
    state.hp, state.breath, state.slot = player:get_hp(), player:get_breath(), player:get_wield_index() - 1
    state.wielded = player:get_wielded_item():get_name()
    state.pointed = pointed(player, pos)
    state.wet, state.under = is_liquid(feet) or is_liquid(eye), is_liquid(eye)
    standing()
    state.light = minetest.get_node_light({x = pos.x, y = pos.y + EYE, z = pos.z}) or 0
end

local sprinting = false
local function sprint(player)          -- the game has no sprint of its own
    local keys = player:get_player_control()
    local wanted = keys.aux1 and keys.up and not keys.sneak
    if wanted ~= sprinting then
        sprinting = wanted
        player:set_physics_override({speed = wanted and 1.3 or 1})
    end
end

local buffer = shim and ffi.new("char[65536]")
local last = ""
local function fetch()
    if shim then
        local length = ffi.C.steve_fetch(buffer, 65536)
        return length > 0 and ffi.string(buffer, length) or nil
    end
    local file = io.open(world .. "/command.json")
    if not file then return nil end
    local text = file:read("*a")
    file:close()
    if text == last then return nil end
    last = text
    return text
end

local function publish(dtime, text)
    if shim then return ffi.C.steve_publish(dtime, text, #text) end
    local file = io.open(world .. "/state.tmp", "w")
    file:write(text)
    file:close()
    os.rename(world .. "/state.tmp", world .. "/state.json")
end

minetest.register_globalstep(function(dtime)
    local player = me()
    state.tick = state.tick + 1
    if not player then return publish(dtime, "{}") end
    local text = fetch()
    if text then
        local c = minetest.parse_json(text)
        local done, problem = pcall(commands[c.op], c)
        if not done then state.problem = tostring(problem); state.done = c.id end
    end
    sprint(player)
    if next(watch) and (state.tick % 4 == 0 or text) then look_around(player) end
    describe(player)
    publish(dtime, minetest.write_json(state))
    state.found, state.problem, state.near = nil, nil, nil      -- told once
end)
