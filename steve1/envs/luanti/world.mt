gameid = minetest_game
backend = dummy
player_backend = dummy
auth_backend = sqlite3
mod_storage_backend = dummy
creative_mode = false
enable_damage = true
