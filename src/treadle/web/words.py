"""What pages and problems say, in English and in Simplified Chinese."""

ENGLISH = {
    "not_found": "There is no such job, or the link to it has expired.",
    "cross_site": "A page of another site may not do this. Ask from a page of this one.",
    "bad_request": "The request cannot be understood.",
    "stream_size": "A stream follows 1 to {most} jobs, each as ?job=…; got {count}.",
    "gone": "The job has succeeded; what it returned was not kept any longer.",
    "busy": "There is too much to do just now. Try again in a moment.",
    "failed": "The job failed.",
    "cancelled": "The job was cancelled.",
    "title": "Your request is being worked on",
    "title_ended": "Your request",
    "blocked": "Waiting for other jobs",
    "scheduled": "Waiting for its time",
    "ready": "Waiting for a free worker",
    "running": "Running",
    "succeeded": "Done",
    "download": "Download the result",
    "cancel": "Cancel",
    "cancelling": "Cancelling …",
    "reloads": "This page reloads by itself.",
}

CHINESE = {
    "not_found": "没有这个任务，或者链接已过期。",
    "cross_site": "其他网站的页面不能执行此操作，请从本站页面发起请求。",
    "bad_request": "无法理解该请求。",
    "stream_size": "一个事件流跟踪 1 到 {most} 个任务，每个写作 ?job=…；收到 {count} 个。",
    "gone": "任务已成功，但返回的结果已不再保留。",
    "busy": "目前请求过多，请稍后再试。",
    "failed": "任务失败。",
    "cancelled": "任务已取消。",
    "title": "正在处理您的请求",
    "title_ended": "您的请求",
    "blocked": "正在等待其他任务",
    "scheduled": "尚未到预定时间",
    "ready": "正在等待空闲的工作进程",
    "running": "正在运行",
    "succeeded": "已完成",
    "download": "下载结果",
    "cancel": "取消",
    "cancelling": "正在取消……",
    "reloads": "本页面会自动刷新。",
}


def language(accept_language: str | None) -> str:
    """`zh` or `en`: which of the two a browser would rather have; English where it wants neither."""
    wanted = sorted(_ranked(accept_language or ""), key=lambda pair: -pair[1])
    return next((name for name, _ in wanted if name in ("en", "zh")), "en")


def words(language: str) -> dict[str, str]:
    """The words of a language: any kind of Chinese, else English."""
    return CHINESE if language.startswith("zh") else ENGLISH


def _ranked(header: str) -> list[tuple[str, float]]:
    return [(name.partition("-")[0].lower(), quality) for name, quality in qualities(header)]


def qualities(header: str) -> list[tuple[str, float]]:
    """The values of an `Accept` header with their qualities, those that are refused left out."""
    found = []
    for item in header.split(",")[:50]:
        name, _, parameters = item.strip().partition(";")
        quality = _quality(parameters)
        if name and quality > 0:
            found.append((name.strip().lower(), quality))
    return found


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
