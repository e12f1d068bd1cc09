"""Chinese prompts → English: a table of the grammar that is read, and what is said of words that are not known."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from steve1 import prompts
from steve1.prompts.chinese import read_chinese
from steve1.prompts.words import dictionary


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        # verb and object, numbers and measures
        ("砍树", "chop a tree"),
        ("抬头看天", "look at the sky"),
        ("抬头看天空中的鸟", "look at the bird in the sky"),
        ("挖三块泥土", "dig three dirt"),
        ("挖铁矿", "mine iron ore"),
        ("收集64个圆石", "collect 64 cobblestone"),
        ("杀十五只羊", "kill 15 sheep"),
        ("找棵云杉砍了", "find a spruce tree and chop it"),
        ("打一桶水", "fill a bucket with water"),
        ("采几朵蒲公英", "collect some dandelions"),
        # the same verb with other objects
        ("做一把石镐", "craft a stone pickaxe"),
        ("做个红石电路", "build a redstone circuit"),
        ("修剑", "repair a sword"),
        ("修路", "build a path"),
        ("打僵尸", "fight a zombie"),
        ("铺二十根铁轨", "place 20 rails"),
        # materials, adjectives, sizes
        ("用木头建一座小房子", "build a small house with wood"),
        ("盖一3x3的房子", "build a three by three house"),
        ("造两3x3x3的房子", "build two three by three by three houses"),
        ("请帮我建一座石头房子", "build a stone house"),
        ("建一面三格高的墙", "build a wall three blocks tall"),
        ("铺一块三乘三的地板", "build a three by three floor"),
        ("铺3x4的地板", "build a three by four floor"),
        ("建一座三层的木屋", "build a three-story wooden house"),
        ("做一扇白桦木门", "craft a birch door"),
        # places and directions
        ("往下挖", "dig down"),
        ("向前走五格", "walk forward five blocks"),
        ("放一个箱子在熔炉旁边", "place a chest next to the furnace"),
        ("在地上放火把", "place a torch on the ground"),
        ("爬到树顶", "climb to the top of the tree"),
        ("拿出箱子里的面包", "take out bread in the chest"),
        ("把前面的石头敲掉", "break stone in front"),
        ("骑马到村庄", "ride a horse to the village"),
        # objects in front, several verbs, manner
        ("把门打开", "open the door"),
        ("把煤放进熔炉", "put coal into the furnace"),
        ("先砍树，然后做一个工作台", "chop a tree and craft a crafting table"),
        ("一直往前跑", "keep running forward"),
        ("不要动", "do not move"),
        ("别挖了", "stop digging"),
        ("等十秒", "wait for ten seconds"),
        ("与村民交易", "trade with a villager"),
        ("给钻石镐附魔", "enchant the diamond pickaxe"),
    ],
)
def test_a_prompt_is_read(chinese: str, english: str) -> None:
    reading = read_chinese(chinese)
    assert (reading.english, reading.unknown) == (english, ())


def test_what_is_not_known_is_left_out_and_named() -> None:
    reading = read_chinese("建一座量子房子")
    assert reading.english == "build a house"
    assert reading.unknown == ("量子",)
    assert read_chinese("量子纠缠").english == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "，，，",
        "的",
        "在",
        "把",
        "用",
        "了了了",
        "三",
        "第三",
        "和和和",
        "去去去" * 40,
        "挖" * 300,
        "x" * 300,
        "\u3400\U00020000",
        "🌳",
    ],
)
def test_no_text_is_too_odd(text: str) -> None:
    reading = read_chinese(text)
    assert reading.english.isascii()


def test_english_words_are_ascii_and_no_term_is_listed_twice() -> None:
    path = Path(prompts.__file__).with_name("chinese_terms.yaml")

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
            keys = [self.construct_object(key) for key, _ in node.value]  # type: ignore[no-untyped-call]
            assert len(keys) == len(set(keys)), sorted(str(key) for key in keys if keys.count(key) > 1)
            return super().construct_mapping(node, deep)

    Strict.add_constructor("tag:yaml.org,2002:map", Strict.construct_mapping)
    terms = yaml.load(path.read_text(encoding="utf-8"), Strict)  # a SafeLoader
    assert sum(map(len, terms.values())) > 1800
    for kinds in dictionary().words.values():
        assert str(list(kinds.values())).isascii()
