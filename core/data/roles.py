"""Names that columns of texts and of labels have in people's spreadsheets, in several languages."""

_TEXT = """
    text texts message messages review reviews comment comments sentence body content description feedback question
    utterance query tweet post title subject document input abstract summary complaint response answer email
    文本 内容 文字 正文 句子 评论 留言 消息 问题 描述 标题 反馈 評論 內容 訊息
    texte commentaire avis nachricht kommentar bewertung texto mensaje comentario reseña mensagem testo
    テキスト 本文 내용
"""
_LABEL = """
    label labels topic topics category categories class classes target tag intent sentiment type group department
    priority rating stars score emotion polarity output
    标签 类别 分类 主题 类型 情感 意图 標籤 類別 分類 主題
    étiquette catégorie classe kategorie thema klasse etiqueta categoría categoria sentimento
    ラベル カテゴリ 레이블 라벨
"""
_PROMPT = """
    prompt instruction question query user human 提问 指令 问题 用户 提示词 frage pregunta
"""
_ANSWER = """
    answer response completion output assistant reply chosen 回答 答案 回复 输出 antwort respuesta réponse
"""
_SUMMARY = """
    summary abstract highlights headline tldr gist 摘要 总结 概要 zusammenfassung résumé resumen 要約
"""
TEXT_NAMES = frozenset(_TEXT.split())
LABEL_NAMES = frozenset(_LABEL.split())
PROMPT_NAMES = frozenset(_PROMPT.split())
ANSWER_NAMES = frozenset(_ANSWER.split())
SUMMARY_NAMES = frozenset(_SUMMARY.split())
SYSTEM_NAMES = frozenset({"system", "系统"})
_OTHER_NAMES = frozenset({"id", "name", "date", "no", "nr"})


def name_words(name: str) -> set[str]:
    """The name and its words, in small letters."""
    lowered = name.strip().strip("\ufeff").casefold()
    return {lowered, *"".join(c if c.isalnum() else " " for c in lowered).split()}


def is_hint(name: str) -> bool:
    """Whether the whole name is one that a header would have."""
    known = TEXT_NAMES | LABEL_NAMES | PROMPT_NAMES | ANSWER_NAMES | SUMMARY_NAMES | _OTHER_NAMES
    return name.strip().strip("\ufeff").casefold() in known
